"""Routes, messages to the browser, a handler of new jobs, and a script for the editor."""

import json

import folder_paths
import server
from aiohttp import web
from server import PromptServer

STATE = {"greeting": "hello", "jobs": 0}
routes = PromptServer.instance.routes


@routes.get("/modelled/state")
async def state(request):
    return web.json_response(STATE)


@routes.post("/modelled/state/{name}")
async def change(request):
    STATE[request.match_info["name"]] = (await request.json())["value"]
    PromptServer.instance.send_sync("modelled-changed", {"name": request.match_info["name"]})
    return web.json_response({"ok": True})


@routes.get("/modelled/upload-size")
async def size(request):
    return web.json_response({"size": int(request.query.get("n", "0")) * 2})


@routes.get("/queue")
async def taken(request):
    return web.json_response({"taken": True})


@routes.get("/modelled/raises")
async def raises(request):
    raise RuntimeError("this route is broken")


@routes.get("/modelled/stream")
async def stream(request):
    reply = web.StreamResponse()
    await reply.prepare(request)
    for i in range(3):
        await reply.write(f"{i}\n".encode())
    return reply


def count(body):
    STATE["jobs"] += 1
    for node in body.get("prompt", {}).values():
        if node.get("class_type") == "ModelledGreet" and node["inputs"].get("name") == "nobody":
            node["inputs"]["name"] = "somebody"
    return body


PromptServer.instance.add_on_prompt_handler(count)


class Greet:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {"default": "you"})}, "hidden": {"id": "UNIQUE_ID"}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "greet"
    OUTPUT_NODE = True

    def greet(self, name, id):
        text = f"{STATE['greeting']} {name}"
        instance = server.PromptServer.instance
        instance.send_sync("modelled-greeting", {"text": text, "node": instance.last_node_id}, instance.client_id)
        instance.send_progress_text(text, id)
        with open(f"{folder_paths.get_temp_directory()}/greeting.json", "w") as file:
            json.dump({"text": text}, file)
        return {"ui": {"text": [text]}, "result": (text,)}


NODE_CLASS_MAPPINGS = {"ModelledGreet": Greet}
WEB_DIRECTORY = "./js"
