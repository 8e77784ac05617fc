// The widgets every graph needs. Others are fetched when a node asks for them.

import "./number.js";
import "./text.js";
import "./toggle.js";
import "./combo.js";
import "./prompt.js";
