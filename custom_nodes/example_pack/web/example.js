// The editor's side of the example pack: a colour to choose on one node, and swatches on the other.

import { app } from "../../scripts/app.js";
import { $el } from "../../scripts/ui.js";

/** A row of colours; pressing one gives it to the tinting nodes of the graph. */
function swatches(node) {
  const row = $el("div", { style: { display: "flex", height: "100%", minHeight: "24px" } });
  node.addDOMWidget("swatches", "EXAMPLE_SWATCHES", row, { serialize: false, getHeight: () => 28 });
  return (colours) =>
    row.replaceChildren(
      ...colours.map((colour) =>
        $el("button", { title: colour, ariaLabel: colour, style: { flex: "1", border: "0", background: colour }, onclick: () => use(colour) }),
      ),
    );
}

function use(colour) {
  for (const node of app.graph._nodes) {
    if (node.comfyClass !== "ExampleTint") continue;
    node.widgets.find((widget) => widget.name === "colour").value = colour;
  }
}

app.registerExtension({
  name: "example.pack",

  // a widget for inputs of the type EXAMPLE_COLOUR
  getCustomWidgets: () => ({
    EXAMPLE_COLOUR(node, name, data) {
      const field = $el("input", { type: "color", value: data[1]?.default ?? "#000000", ariaLabel: name });
      const widget = node.addDOMWidget(name, "EXAMPLE_COLOUR", field, {
        getValue: () => field.value,
        setValue: (value) => (field.value = value),
        getHeight: () => 26,
      });
      return { widget };
    },
  }),

  // what the node shows when it has run arrives in onExecuted
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== "ExamplePalette") return;
    const created = nodeType.prototype.onNodeCreated;
    nodeType.prototype.onNodeCreated = function () {
      created?.apply(this, arguments);
      this.showColours = swatches(this);
    };
    const executed = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      executed?.apply(this, arguments);
      this.showColours(output.colours ?? []);
    };
  },
});
