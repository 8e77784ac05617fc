// The widgets there are. What is large (completion, the mask editor, markdown itself) they fetch when it is asked for.

import "./number.js";
import "./text.js";
import "./toggle.js";
import "./combo.js";
import "./prompt.js";
import "./upload.js";
import "./colour.js";
import "./markdown.js";
import "./box.js";
import "./curve.js";
import "./capture.js";
