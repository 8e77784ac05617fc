// The page's part of editor_canvas.py: mount the canvas as the shell does, put it in place for a scenario, count frames.

window.mount = async ({ workflow, info, pictures }) => {
  const paths = ["canvas/index", "canvas/actions", "format/workflow", "core/definitions", "session", "shell/actions", "shell/settings", "run/api"];
  const modules = Object.assign({}, ...(await Promise.all(paths.map((path) => import(`/${path}.js`)))));
  const { mountCanvas, registerGraphActions, readWorkflow, Definitions, createSession, Actions, listenToKeys, Settings, Api } = modules;
  const actions = new Actions();
  const text = JSON.stringify(workflow);
  const start = performance.now();
  const { document: graph } = readWorkflow(JSON.parse(text));
  const session = createSession({ definitions: new Definitions(info), actions, settings: new Settings(null, null), api: new Api() }, graph);
  const canvas = mountCanvas(document.getElementById("host"), session);
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const opened = performance.now() - start;
  registerGraphActions(actions, canvas);
  actions.current = () => session;
  listenToKeys(actions);
  Object.assign(window, { canvas, session, stage: canvas.stage });
  if (pictures) await showPictures();
  return opened;
};

/** Every 20th node shows a picture, one of eight. */
async function showPictures() {
  const sheet = document.createElement("canvas");
  sheet.width = sheet.height = 256;
  const ctx = sheet.getContext("2d");
  const urls = [];
  for (let i = 0; i < 8; i++) {
    ctx.fillStyle = `hsl(${i * 45} 60% 50%)`;
    ctx.fillRect(0, 0, 256, 256);
    urls.push(URL.createObjectURL(await new Promise((done) => sheet.toBlob(done))));
  }
  [...session.document.root.nodes.keys()].forEach((id, i) => {
    if (i % 20 === 0) session.runs.set(String(id), { outputs: [{ url: urls[(i / 20) % 8], kind: "image", filename: "a.png", subfolder: "", type: "output" }] });
  });
}

/** Look at the middle of the graph at 100 %, with some nodes selected; where the first of them can be taken hold of. */
window.close_ = (count) => {
  const ids = [...stage.scene.items.keys()];
  const from = ids.length >> 1;
  stage.camera.scale = 1;
  stage.centre(ids[from]);
  session.selection.set(ids.slice(from, from + count));
  const [left, top] = stage.scene.items.get(ids[from]).bounds;
  return stage.camera.toScreen(left + 150, top + 12);
};

window.watch = () => {
  window.deltas = [];
  window.watching = true;
  let last = null;
  const tick = (now) => {
    if (last !== null) window.deltas.push(now - last);
    last = now;
    if (window.watching) requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
};
