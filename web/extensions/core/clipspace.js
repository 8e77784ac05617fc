// For scripts of node packs that add to the clipboard of pictures; there is no such window here.
export class ClipspaceDialog {
  static items = [];
  static registerButton() {}
  static invalidate() {}
}
