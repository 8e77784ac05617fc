// What widgets reckon with: sums, weights, masks, file names, numbers within bounds.
import assert from "node:assert/strict";
import { test } from "node:test";

import { calculate } from "../../web/widgets/arithmetic.js";
import { fittedBox } from "../../web/widgets/box_editor.js";
import { heightAt, moved, pointsOf, withPoints } from "../../web/widgets/curve_points.js";
import { fileOf } from "../../web/widgets/file.js";
import { feather, flood } from "../../web/widgets/mask_pixels.js";
import { weighed } from "../../web/widgets/weights.js";

test("sums are read as one reads them, and nothing else is", () => {
  const sums = { "1+2*3": 7, "(1+2)*3": 9, "2^3^2": 512, "-4/2": -2, "10 % 4": 2, "1,5 * 2": 3, ".5": 0.5, "1e3": 1000, "--3": 3, "512*1.5": 768 };
  for (const [text, value] of Object.entries(sums)) assert.equal(calculate(text), value, text);
  for (const text of ["", "abc", "1+", "(1", "1)", "1/0", "alert(1)", "2 3", "1..2", "a+1", "((((", "1" + "+1".repeat(500)]) assert.equal(calculate(text), null, text);
});

test("weights grow, shrink and go at 1", () => {
  const up = weighed("a red cat", 3, 3, 0.05);
  assert.equal(up.text, "a (red:1.05) cat");
  assert.equal(up.text.slice(up.start, up.end), "red");
  const more = weighed(up.text, up.start, up.end, 0.05);
  assert.equal(more.text, "a (red:1.1) cat");
  const back = weighed(weighed(more.text, more.start, more.end, -0.05).text, 3, 6, -0.05);
  assert.equal(back.text, "a red cat");
  assert.equal(weighed("(a b:1.2) c", 3, 3, 0.1).text, "(a b:1.3) c");
  assert.equal(weighed("a red cat", 2, 9, -0.2).text, "a (red cat:0.8)");
  assert.equal(weighed("   ", 1, 1, 0.1), null);
});

test("flooding stays inside a closed line", () => {
  const [width, height] = [9, 7];
  const image = { data: new Uint8ClampedArray(4 * width * height), width, height };
  const wall = (x, y) => image.data.set([255, 255, 255, 255], 4 * (y * width + x));
  for (let x = 2; x <= 6; x++) wall(x, 1), wall(x, 5);
  for (let y = 1; y <= 5; y++) wall(2, y), wall(6, y);
  const before = image.data.filter((value, i) => i % 4 === 3 && value).length;
  flood(image, 4, 3);
  assert.equal(image.data.filter((value, i) => i % 4 === 3 && value).length, before + 9);
  flood(image, -1, 3);
  flood(image, 0, 0);
  assert.ok(image.data.every((value) => value === 255));
});

test("a feather keeps the amount and softens the edge", () => {
  const values = Float32Array.from({ length: 41 * 41 }, (_, i) => (i % 41 > 15 && i % 41 < 25 && i / 41 > 15 && i / 41 < 25 ? 255 : 0));
  assert.equal(feather(values, 41, 41, 0), values);
  const soft = feather(values, 41, 41, 6);
  const total = (list) => list.reduce((sum, value) => sum + value, 0);
  assert.ok(Math.abs(total(soft) / total(values) - 1) < 1e-3);
  assert.ok(soft[20 * 41 + 13] > 0 && soft[20 * 41 + 16] < 255);
});

test("files are named as the server names them", () => {
  assert.deepEqual(fileOf("a/b/c.png [output]"), { filename: "c.png", subfolder: "a/b", type: "output" });
  assert.deepEqual(fileOf("c.png"), { filename: "c.png", subfolder: "", type: "input" });
  assert.deepEqual(fileOf("odd [1].png", "output"), { filename: "odd [1].png", subfolder: "", type: "output" });
  assert.deepEqual(fileOf(null), { filename: "", subfolder: "", type: "input" });
});

test("a box stays within its picture, in whole steps", () => {
  assert.deepEqual(fittedBox({ x: 13, y: -5, width: 3, height: 900 }, [512, 256], 8, [64, 64]), { x: 16, y: 0, width: 64, height: 256 });
  assert.deepEqual(fittedBox({ x: 500, y: 90, width: 100, height: 99.6 }, [512, 256], 1, [1, 1]), { x: 412, y: 90, width: 100, height: 100 });
  assert.deepEqual(fittedBox({ x: 0.333, y: 0.5, width: 0.9, height: 0.25 }, [1, 1], 0.01, [0, 0]), { x: 0.1, y: 0.5, width: 0.9, height: 0.25 });
});

test("a curve goes through its points, never over them, and keeps the form it has", () => {
  const points = [[0, 0], [0.25, 0.9], [0.5, 0.9], [1, 0.2]];
  for (const [x, y] of points) assert.ok(Math.abs(heightAt(points, x) - y) < 1e-9);
  for (let x = 0; x <= 1; x += 0.01) assert.ok(heightAt(points, x) <= 0.9 + 1e-9 && heightAt(points, x) >= 0);
  assert.ok(Math.abs(heightAt(points, 0.75, true) - 0.55) < 1e-9);
  assert.deepEqual(pointsOf({ points: [[1, 2], ["x", 0], [0.5, 0.25]] }), [[0.5, 0.25], [1, 1]]);
  assert.deepEqual(pointsOf("nonsense"), [[0, 0], [1, 1]]);
  assert.deepEqual(withPoints([[0, 0], [1, 1]], points), points);
  assert.deepEqual(withPoints({ interpolation: "linear", more: 1 }, [[0, 0], [1, 0.33333333]]), { interpolation: "linear", more: 1, points: [[0, 0], [1, 0.3333]] });
  assert.deepEqual(moved(points, 1, 0.9, 2)[1], [0.499, 1]);
  assert.deepEqual(moved(points, 0, 0.5, 0.4)[0], [0, 0.4]);
});
