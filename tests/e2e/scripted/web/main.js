import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { $el, ComfyDialog } from "../../scripts/ui.js";
import { ComfyWidgets } from "/scripts/widgets.js";

const seen = (window.scripted = { hooks: [], executed: [], links: [], callbacks: [], drawn: 0, events: [], api, app });
api.addEventListener("execution_start", ({ detail }) => seen.events.push(["start", typeof detail.prompt_id]));
api.addEventListener("executing", ({ detail }) => seen.events.push(["executing", detail]));

app.registerExtension({
  name: "scripted.main",
  settings: [{ id: "scripted.size", name: "Size of the script", type: "number", defaultValue: 7 }],
  commands: [{ id: "scripted.shout", label: "Shout from the script", function: () => app.extensionManager.toast.add({ severity: "success", summary: "Shouted" }) }],
  keybindings: [{ combo: { key: "F8", ctrl: true }, commandId: "scripted.shout" }],
  async init() {
    seen.hooks.push("init");
    document.head.append($el("style", { textContent: ".scripted { color: inherit }" }));
  },
  async getCustomWidgets() {
    return {
      SCRIPTED_TINT(node, name) {
        const field = $el("input", { type: "color", value: "#112233", ariaLabel: "tint" });
        const widget = node.addDOMWidget(name, "SCRIPTED_TINT", field, {
          getValue: () => field.value,
          setValue: (value) => (field.value = value),
          getHeight: () => 26,
        });
        return { widget };
      },
    };
  },
  async addCustomNodeDefs(defs) {
    seen.hooks.push(`defs ${"KSampler" in defs}`);
  },
  async beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== "ScriptedText") return;
    const created = nodeType.prototype.onNodeCreated;
    nodeType.prototype.onNodeCreated = function () {
      created?.apply(this, arguments);
      this.addWidget("button", "Add three", null, () => {
        const count = this.widgets.find((each) => each.name === "count");
        count.value += 3;
        this.properties.pressed = (this.properties.pressed ?? 0) + 1;
      });
      const mood = this.addWidget("combo", "mood", "calm", () => {}, { values: ["calm", "wild"] });
      mood.serializeValue = () => mood.value.toUpperCase();
      this.serialize_widgets = true;
      const way = this.widgets.find((each) => each.name === "way");
      way.options.values = ["first", "second", "third"];
      const secret = this.widgets.find((each) => each.name === "secret");
      secret.type = "hidden";
      secret.computeSize = () => [0, -4];
      const text = this.widgets.find((each) => each.name === "text");
      const before = text.callback;
      text.callback = function (value) {
        before?.apply(this, arguments);
        seen.callbacks.push(value);
      };
      this.addCustomWidget({
        name: "meter", type: "scripted_meter", value: 3,
        draw(ctx, node, width, y) {
          seen.drawn++;
          ctx.fillStyle = "#4af";
          ctx.fillRect(10, y, (width - 20) * (this.value / 10), 12);
        },
        mouse(event, pos, node) {
          if (event.type === "pointerdown") this.value = Math.round((10 * pos[0]) / node.size[0]);
          return true;
        },
        computeSize: () => [200, 16],
        serialize: false,
      });
    };
    nodeType.prototype.onExecuted = function (output) {
      seen.executed.push([this.id, output.text]);
      if (!this.shown) {
        this.shown = ComfyWidgets.STRING(this, "shown", ["STRING", { multiline: true }], app).widget;
        this.shown.inputEl.readOnly = true;
        this.shown.serialize = false;
      }
      this.shown.value = output.text.join("");
      this.setSize(this.computeSize());
    };
    nodeType.prototype.onSerialize = function (data) {
      data.scripted = { kept: this.id };
    };
    nodeType.prototype.onConnectInput = function (slot, type, output, from) {
      return from.title !== "Unwanted";
    };
    nodeType.prototype.onConnectionsChange = function (type, index, connected, link) {
      seen.links.push([this.id, type, index, connected, link?.origin_id]);
    };
    const menu = nodeType.prototype.getExtraMenuOptions;
    nodeType.prototype.getExtraMenuOptions = function (canvas, options) {
      menu?.apply(this, arguments);
      options.unshift({ content: "Paint it <b>red</b>", callback: () => (this.bgcolor = "#533") });
    };
    nodeType.prototype.onDrawForeground = function (ctx) {
      ctx.fillStyle = "#fff";
      ctx.fillText(`#${this.id}`, 4, -8);
      seen.foreground = true;
    };
  },
  registerCustomNodes() {
    class Pipe extends LiteGraph.LGraphNode {
      constructor(title) {
        super(title);
        this.isVirtualNode = true;
        this.addInput("in", "*");
        this.addOutput("out", "*");
        this.properties = { kept: true };
      }
    }
    Pipe.title = "Scripted pipe";
    Pipe.category = "scripted";
    LiteGraph.registerNodeType("ScriptedPipe", Pipe);
  },
  async setup() {
    seen.hooks.push("setup");
    seen.size = app.ui.settings.getSettingValue("scripted.size");
  },
  nodeCreated(node) {
    if (node.comfyClass === "ScriptedText") seen.hooks.push("created");
  },
  loadedGraphNode(node) {
    if (node.comfyClass === "ScriptedText") seen.hooks.push(`loaded ${node.widgets.length}`);
  },
});

window.scriptedDialog = () => {
  const dialog = new ComfyDialog();
  dialog.show("<b>bold</b><img src=x onerror=\"window.owned = 1\">");
};
