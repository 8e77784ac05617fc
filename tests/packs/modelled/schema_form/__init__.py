"""Everything of the schema form: all kinds of inputs, hidden values, lazy, fingerprint, validation, expansion, blocking, async, ui."""

import asyncio
from enum import Enum

import torch
from comfy_api.latest import ComfyAPI, ComfyAPISync, ComfyExtension, io, ui
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


class Marked(io.ComfyNode):
    """Flags, all run values, and results looked at by their place."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SchemaMarked", display_name=None, inputs=[io.Int.Input("n", default=1, socketless=True)],
            outputs=[io.String.Output("first"), io.String.Output("second")], hidden=list(io.Hidden),
            is_deprecated=True, is_experimental=True,
            is_api_node=True, not_idempotent=True,
        )  # fmt: skip

    @classmethod
    def execute(cls, n):
        hidden = cls.hidden
        assert hidden.prompt[hidden.unique_id]["class_type"] == "SchemaMarked" and hidden.dynprompt.has_node(hidden.unique_id)
        assert hidden.auth_token_comfy_org is None and hidden.no_such_value is None
        made = io.NodeOutput(f"{hidden.unique_id} {hidden.extra_pnginfo}", "b")
        assert made[1] == "b" and made.result == made.args
        ComfyAPISync().execution.set_progress(1, 1)
        return made


class Strict(io.ComfyNode):
    """Looks at the types of links, and changes when its word does."""

    WORD = "one"

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SchemaStrict",
            inputs=[io.Int.Input("n", default=1), io.Image.Input("linked", optional=True)],
            outputs=[io.Int.Output()],
        )

    @classmethod
    async def validate_inputs(cls, input_types):
        return True if input_types.get("linked") != "STRING" else "no texts"

    @classmethod
    def fingerprint_inputs(cls, n, linked=None):
        return cls.WORD

    @classmethod
    def execute(cls, n, linked=None):
        RUNS.append(n)
        return (n,)


class Grows(io.ComfyNode):
    """Inputs that bring others, and inputs that share a type."""

    @classmethod
    def define_schema(cls):
        same = io.MatchType.Template("same", [io.Int, io.Float])
        return io.Schema(
            node_id="SchemaGrows",
            inputs=[
                io.DynamicCombo.Input("way", options=[
                    io.DynamicCombo.Option("by", [io.Float.Input("factor", default=1.0)]),
                    io.DynamicCombo.Option("to", [io.Int.Input("width", default=8), io.Int.Input("height", default=8)]),
                ]),
                io.Autogrow.Input("parts", template=io.Autogrow.TemplatePrefix(io.Int.Input("part"), prefix="part", min=1, max=4)),
                io.Autogrow.Input("named", template=io.Autogrow.TemplateNames(io.Int.Input("x"), ["x", "y"], min=0), optional=True),
                io.MatchType.Input("a", template=same, optional=True),
            ],
            outputs=[io.String.Output(), io.MatchType.Output(template=same)],
        )  # fmt: skip

    @classmethod
    def execute(cls, way, parts, named=None, a=0):
        return io.NodeOutput(f"{way} {parts} {named}", a)


class Shows(io.ComfyNode):
    """Every way to show something."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SchemaShows", outputs=[], is_output_node=True,
            inputs=[io.Image.Input("image"), io.Combo.Input("how", options=["image", "mask", "audio", "text", "saved"])],
        )  # fmt: skip

    @classmethod
    def execute(cls, image, how):
        if how == "saved":
            return io.NodeOutput(ui=ui.ImageSaveHelper.get_save_images_ui(image, "schema", cls=cls))
        sound = {"waveform": torch.zeros(1, 1, 800), "sample_rate": 8000}
        made = {"image": lambda: ui.PreviewImage(image, cls=cls), "mask": lambda: ui.PreviewMask(image[..., 0], cls=cls),
                "audio": lambda: ui.PreviewAudio(sound, cls=cls), "text": lambda: ui.PreviewText("words")}  # fmt: skip
        return io.NodeOutput(ui=made[how]())


RUNS = []


class Extension(ComfyExtension):
    loaded = False

    async def on_load(self):
        self.loaded = True

    async def get_node_list(self):
        assert self.loaded
        return [Everything, Slow, Lazy, Expanding, Blocking, Writes, Gather, Marked, Strict, Grows, Shows]


async def comfy_entrypoint():
    return Extension()
