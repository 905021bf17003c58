// The stage funnel, the time per frame, the running pipeline: SVG from one camera's health.

import { byId, h, refill, s, soft } from './dom.js';
import { number, t } from './text.js';

export const STAGES = ['candidates', 'scored', 'kept_by_nms', 'kept_by_label', 'kept_by_area', 'kept_by_zone', 'tracked', 'published'];
const BESIDE = ['tracked', 'published']; // what is published comes from the filters, whether or not it is followed
const STEPS = ['decode', 'preprocess', 'infer', 'postprocess'];
const WINDOW = 5; // readings: ten seconds

// Counters of the last seconds; since the start where there is one reading only.
export class History {
  constructor() {
    this.read = new Map();
  }

  take(camera, now) {
    const run = `${camera.camera}/${camera.run}`;
    const kept = this.read.get(camera.camera);
    const going = kept && kept.run === run && kept.list.at(-1).counters.inferred <= camera.counters.inferred;
    const list = going ? kept.list : [];
    list.push({ counters: camera.counters, now });
    while (list.length > WINDOW + 1) list.shift();
    this.read.set(camera.camera, { run, list });
  }

  // {counters, seconds}: seconds is 0 for "since the start"
  recent(camera) {
    const { list } = this.read.get(camera);
    const last = list.at(-1);
    if (list.length === 1) return { counters: last.counters, seconds: 0 };
    const first = list[0];
    const names = Object.keys(last.counters);
    const counters = Object.fromEntries(names.map((name) => [name, last.counters[name] - (first.counters[name] || 0)]));
    return { counters, seconds: (last.now - first.now) / 1000 };
  }
}

// The first stage behind which nothing is left although something came.
export function lostAt(counters) {
  const upto = STAGES.filter((stage) => !BESIDE.includes(stage));
  return upto.find((stage, index) => index > 0 && counters[stage] === 0 && counters[upto[index - 1]] > 0);
}

// Maps and classes go out whole: their objects' counters stay 0, and nothing is lost.
const sifts = ({ model }) => !model || model.task.startsWith('detect');

export function funnel(camera, { counters, seconds }) {
  const box = byId('funnel');
  if (!counters.inferred) return refill(box, soft(t('funnel.nothing')));
  const when = t(seconds ? 'funnel.recent' : 'funnel.all', { seconds: number(seconds), frames: number(counters.inferred) });
  if (!sifts(camera)) return refill(box, h('p', { class: 'soft', id: 'funnel-verdict' }, t('funnel.whole')), soft(when));
  const lost = lostAt(counters);
  const most = Math.max(1, ...STAGES.map((stage) => counters[stage] || 0));
  const all = Math.min(720, box.clientWidth || 600);
  const narrow = all < 480; // then the words stand above their bar
  const [row, left, top] = narrow ? [50, 0, 24] : [34, 200, 5];
  const long = all - left - (narrow ? 0 : 70);
  const rows = STAGES.map((stage, index) => {
    const value = counters[stage] || 0;
    const width = value ? Math.max(3, Math.round((long * Math.log1p(value)) / Math.log1p(most))) : 0;
    const y = index * row;
    const kind = stage === lost ? 'lost' : value ? 'full' : 'none';
    return s('g', { class: kind, 'data-stage': stage, 'data-value': value },
      s('text', { x: 0, y: y + (narrow ? 17 : 21) }, t(`stage.${stage}`)),
      s('rect', { x: left, y: y + top, width: long, height: 20, rx: 4, class: 'track' }),
      s('rect', { x: left, y: y + top, width, height: 20, rx: 4, class: 'bar' }),
      s('text', { x: all, y: y + (narrow ? 17 : 21), 'text-anchor': 'end', class: 'value' }, number(value)));
  });
  const verdict = lost ? t('funnel.lost', { stage: t(`stage.${lost}`) }) : counters.kept_by_zone ? t('funnel.through') : t('funnel.none');
  const alt = `${verdict} ${STAGES.map((stage) => `${t(`stage.${stage}`)}: ${number(counters[stage] || 0)}`).join(', ')}`;
  return refill(box,
    h('p', { class: lost ? 'fail' : 'soft', id: 'funnel-verdict' }, verdict),
    s('svg', { viewBox: `0 0 ${all} ${STAGES.length * row}`, width: all, height: STAGES.length * row, role: 'img', 'aria-label': alt, class: 'chart funnel' }, rows),
    soft(`${when} ${t('funnel.log')}`));
}

export function latency(camera) {
  const box = byId('latency');
  const spent = camera.latency_ms;
  if (!spent || spent.total === undefined) return refill(box, soft(t('latency.nothing')));
  const sum = STEPS.reduce((before, step) => before + spent[step], 0);
  let x = 0;
  const bars = STEPS.map((step) => {
    const width = (600 * spent[step]) / Math.max(sum, 0.001);
    const made = s('rect', { x, y: 0, width, height: 26, class: `step ${step}` });
    x += width;
    return made;
  });
  const rows = STEPS.map((step) => h('li', {}, h('span', { class: `key ${step}`, 'aria-hidden': 'true' }), h('span', {}, t(`step.${step}`)), h('b', {}, `${number(spent[step], 1)} ms`)));
  return refill(box,
    s('svg', { viewBox: '0 0 600 26', preserveAspectRatio: 'none', class: 'chart split', 'aria-hidden': 'true' }, bars),
    h('ul', { class: 'legend' }, rows),
    soft(t('latency.total', { total: number(spent.total, 1) })));
}

const rate = (counters, seconds, name) => (seconds ? t('graph.rate', { rate: number(counters[name] / seconds, 1) }) : number(counters[name]));

function nodes(camera, status, { counters, seconds }) {
  const ms = (step) => (camera.latency_ms[step] === undefined ? '–' : `${number(camera.latency_ms[step], 1)} ms`);
  const mqtt = status.agent.mqtt || {};
  const source = camera.source || {};
  const size = source.width ? `${source.width}×${source.height}` : '–';
  return [
    ['source', [`${source.codec || '–'} ${size}`, rate(counters, seconds, 'decoded')], camera.state === 'waiting-source'],
    ['slot', [t('graph.dropped', { dropped: rate(counters, seconds, 'dropped') })], false],
    ['preprocess', [ms('preprocess')], false],
    ['model', [camera.model ? camera.model.backend : '–', ms('infer')], !camera.model],
    ['head', [t('graph.score', { score: camera.score_max === null ? '–' : number(camera.score_max, 2) }), ms('postprocess')], false],
    ['filters', [sifts(camera) ? t('graph.kept', { kept: number(counters.kept_by_zone), of: number(counters.kept_by_nms) }) : '–'], counters.kept_by_nms > 0 && !counters.kept_by_zone],
    ['outbox', [t('graph.open', { open: number((status.agent.outbox || {}).messages || 0) })], Boolean((status.agent.outbox || {}).problem)],
    ['broker', [t(`mqtt.${mqtt.state}`), rate(counters, seconds, 'acknowledged')], mqtt.state !== 'connected'],
  ];
}

const NARROWEST = 145;
const TALL = 82;
const GAP = 26;

// A snake of boxes: as many in a row as the page is wide.
export function graph(camera, status, recent) {
  const box = byId('graph');
  const list = nodes(camera, status, recent);
  const room = box.clientWidth || 900;
  const fit = Math.max(1, Math.min(list.length, Math.floor((room + GAP) / (NARROWEST + GAP))));
  const columns = Math.ceil(list.length / Math.ceil(list.length / fit)); // rows of one length
  const WIDE = Math.min(260, Math.floor((room + GAP) / columns) - GAP);
  const place = (index) => {
    const row = Math.floor(index / columns);
    const column = row % 2 ? columns - 1 - (index % columns) : index % columns;
    return { x: column * (WIDE + GAP), y: row * (TALL + GAP), row };
  };
  const arrows = list.slice(1).map((_, index) => {
    const [from, to] = [place(index), place(index + 1)];
    if (from.row !== to.row) return s('path', { class: 'arrow', d: `M${from.x + WIDE / 2} ${from.y + TALL} v${GAP - 3}`, 'marker-end': 'url(#tip)' });
    const right = to.x > from.x;
    return s('path', { class: 'arrow', d: `M${from.x + (right ? WIDE : 0)} ${from.y + TALL / 2} h${right ? GAP - 3 : 3 - GAP}`, 'marker-end': 'url(#tip)' });
  });
  const boxes = list.map(([id, lines, stuck], index) => {
    const { x, y } = place(index);
    return s('g', { class: stuck ? 'node stuck' : 'node', 'data-node': id },
      s('rect', { x: x + 1, y: y + 1, width: WIDE - 2, height: TALL - 2, rx: 10 }),
      s('text', { x: x + 12, y: y + 25, class: 'name' }, t(`node.${id}`)),
      lines.map((line, at) => s('text', { x: x + 12, y: y + 46 + at * 19 }, line)));
  });
  const width = columns * (WIDE + GAP) - GAP;
  const height = Math.ceil(list.length / columns) * (TALL + GAP) - GAP;
  const alt = list.map(([id, lines]) => `${t(`node.${id}`)}: ${lines.join(', ')}`).join('; ');
  const tip = s('marker', { id: 'tip', viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: 'auto-start-reverse' }, s('path', { d: 'M0 0 8 4 0 8z', class: 'head' }));
  refill(box, s('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': alt, class: 'chart graph' }, s('defs', {}, tip), arrows, boxes));
}
