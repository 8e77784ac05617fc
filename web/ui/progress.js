// One bar for the whole run: each node counts the same, a node at work counts by its own progress.

export class Progress {
  #bar; #label; #total = 0; #done = new Set(); #shares = new Map();

  constructor(bar, label) {
    this.#bar = bar;
    this.#label = label;
  }

  start(total, words) {
    this.#total = total;
    this.#done.clear();
    this.#shares.clear();
    this.#draw(words);
  }

  finish(nodes, words = null) {
    for (const id of nodes) this.#done.add(id);
    this.#draw(words);
  }

  part(node, value, max, words) {
    this.#shares.set(node, max > 0 ? value / max : 0);
    this.#draw(words);
  }

  /** The job is over, or not begun; `full` leaves the bar at its end. */
  end(words, full = false) {
    this.#bar.value = Number(full);
    this.#label.textContent = words;
  }

  #draw(words) {
    let sum = this.#done.size;
    for (const [id, share] of this.#shares) if (!this.#done.has(id)) sum += share;
    this.#bar.value = this.#total ? Math.min(1, sum / this.#total) : 0;
    if (words !== null) this.#label.textContent = words;
  }
}
