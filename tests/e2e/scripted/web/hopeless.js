import { app } from "../../scripts/app.js";

app.registerExtension({ name: "scripted.hopeless" });
LGraphCanvas.prototype.drawNodeShape = function () {};
