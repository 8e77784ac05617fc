"""Everything of the schema form: all kinds of inputs, hidden values, lazy, fingerprint, validation, expansion, blocking, async, ui."""

import asyncio
from enum import Enum

import torch
from comfy_api.latest import ComfyAPI, ComfyExtension, io, ui
from comfy_execution.graph_utils import GraphBuilder


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@io.comfytype(io_type="MODELLED_POINT")
class PointType(io.ComfyTypeIO):
    Type = tuple


class Everything(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SchemaEverything",
            display_name="Everything",
            category="modelled/schema",
            description="All kinds of inputs.",
            inputs=[
                io.Int.Input(
                    "count",
                    default=2,
                    min=0,
                    max=9,
                    step=1,
                    control_after_generate=True,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="how many",
                ),
                io.Float.Input("share", default=0.5, min=0.0, max=1.0, step=0.01, round=0.001),
                io.String.Input("text", multiline=True, placeholder="words", default="a", dynamic_prompts=True),
                io.Boolean.Input("flag", default=True, label_on="yes", label_off="no"),
                io.Combo.Input("colour", options=Colour, default=Colour.BLUE),
                io.Combo.Input("kind", options=["x", "y"], optional=True),
                io.MultiCombo.Input("many", options=["p", "q"], default=["p"], chip=True, optional=True),
                io.Image.Input("image", optional=True),
                io.Custom("MODELLED_THING").Input("thing", optional=True),
                PointType.Input("point", optional=True),
                io.MultiType.Input(io.Float.Input("either", default=1.0, optional=True), [io.Int, io.String]),
                io.AnyType.Input("anything", optional=True),
            ],
            outputs=[
                io.String.Output("summary", display_name="Summary", tooltip="in words"),
                io.Image.Output(),
                PointType.Output(),
                io.Int.Output(is_output_list=True),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, count):
        return True if count != 7 else "seven is not allowed"

    @classmethod
    def fingerprint_inputs(cls, **kwargs):
        return "same"

    @classmethod
    def execute(
        cls, count, share, text, flag, colour, kind="x", many=("p",), image=None, thing=None, point=None, either=1.0, anything=None
    ):
        image = torch.ones(1, 8, 8, 3) if image is None else image
        summary = f"{count} {share} {text} {flag} {colour} {kind} {either} {cls.hidden.unique_id} {cls.hidden.prompt is not None}"
        return io.NodeOutput(summary, image, (1, 2), list(range(count)), ui=ui.PreviewImage(image, cls=cls))


class Slow(io.ComfyNode):
    """Async, with progress."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="SchemaSlow", inputs=[io.Int.Input("n", default=1)], outputs=[io.Int.Output()])

    @classmethod
    async def execute(cls, n):
        await asyncio.sleep(0.01)
        await ComfyAPI().execution.set_progress(1, 2, preview_image=torch.zeros(4, 4, 3))
        return io.NodeOutput(n + 1)


class Lazy(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SchemaLazy",
            inputs=[
                io.Boolean.Input("first", default=True),
                io.Int.Input("a", lazy=True, force_input=True),
                io.Int.Input("b", lazy=True, force_input=True),
            ],
            outputs=[io.Int.Output()],
        )

    @classmethod
    def check_lazy_status(cls, first, a=None, b=None):
        return ["a"] if first else ["b"]

    @classmethod
    def execute(cls, first, a=None, b=None):
        return io.NodeOutput(a if first else b)


class Expanding(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="SchemaExpanding", inputs=[io.Int.Input("n", default=1)], outputs=[io.Int.Output()], enable_expand=True)

    @classmethod
    def execute(cls, n):
        g = GraphBuilder()
        return io.NodeOutput(g.node("SchemaSlow", n=n).out(0), expand=g.finalize())


class Blocking(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="SchemaBlocking", inputs=[io.Int.Input("n", default=1)], outputs=[io.Int.Output()])

    @classmethod
    def execute(cls, n):
        return io.NodeOutput(n) if n > 0 else io.NodeOutput(block_execution="nothing to do")


class Writes(io.ComfyNode):
    """Tries to keep something on its class."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="SchemaWrites", inputs=[], outputs=[], is_output_node=True)

    @classmethod
    def execute(cls):
        cls.kept = 1


class Gather(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SchemaGather", inputs=[io.Int.Input("numbers", force_input=True)], outputs=[], is_input_list=True, is_output_node=True
        )

    @classmethod
    def execute(cls, numbers):
        return io.NodeOutput(ui=ui.PreviewText(str(sum(numbers))))


class Extension(ComfyExtension):
    async def get_node_list(self):
        return [Everything, Slow, Lazy, Expanding, Blocking, Writes, Gather]


async def comfy_entrypoint():
    return Extension()
