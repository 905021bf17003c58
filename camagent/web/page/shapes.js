// Polygons as values: no page, no picture. Points are [x, y], 0..1 of the picture.

const NAME = /^[A-Za-z0-9_-]{1,48}$/;
export const ANCHORS = ['bottom-center', 'center', 'top-center', 'any'];
export const MOST_POINTS = 256;

const clamp = (value) => Math.min(1, Math.max(0, value));
const round = (value) => Math.round(clamp(value) * 10000) / 10000;

export const point = (x, y) => [round(x), round(y)];
export const rectangle = () => [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]];

export function freeName(kind, shapes) {
  const names = new Set(shapes.map((shape) => shape.name));
  for (let index = 1; ; index += 1) if (!names.has(`${kind}-${index}`)) return `${kind}-${index}`;
}

export const moved = (polygon, index, to) => polygon.map((old, at) => (at === index ? point(...to) : old));
export const without = (polygon, index) => polygon.filter((_, at) => at !== index);

// One more corner, halfway to the next one.
export function split(polygon, index) {
  const [from, to] = [polygon[index], polygon[(index + 1) % polygon.length]];
  return [...polygon.slice(0, index + 1), point((from[0] + to[0]) / 2, (from[1] + to[1]) / 2), ...polygon.slice(index + 1)];
}

// What is wrong with the shapes, as [text id, values]; null where they can be saved.
export function problem(shapes) {
  for (const shape of shapes) {
    if (!NAME.test(shape.name)) return ['edit.bad-name', { name: shape.name }];
    if (shape.polygon.length < 3) return ['edit.few-points', { name: shape.name }];
    const same = shapes.filter((other) => other.kind === shape.kind && other.name === shape.name);
    if (same.length > 1) return ['edit.same-name', { name: shape.name }];
  }
  return null;
}

export const ofKind = (shapes, kind) => shapes.filter((shape) => shape.kind === kind).map(({ name, polygon, anchor }) => (kind === 'zone' ? { name, polygon, anchor } : { name, polygon }));

// As it stands in camagent.toml below its [[camera]]. Names are letters, digits, - and _; labels are escaped as in JSON.
export function toToml(shapes, { min_score: score, labels }) {
  const rest = [score === null ? '' : `min_score = ${score}\n`, labels.length ? `labels = ${JSON.stringify(labels)}\n` : ''].join('');
  return [...(rest ? [`[camera.filter]\n${rest}`] : []), ...shapes.map(({ kind, name, polygon, anchor }) => {
    const corners = polygon.map(([x, y]) => `[${x}, ${y}]`).join(', ');
    const where = kind === 'zone' && anchor !== ANCHORS[0] ? `anchor = "${anchor}"\n` : '';
    return `[[camera.${kind}]]\nname = "${name}"\npolygon = [${corners}]\n${where}`;
  })].join('\n');
}
