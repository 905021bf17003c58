// Try a picture: what does this camera's model see in it?

import { send } from './api.js';
import { byId, fill, h, soft } from './dom.js';
import { refusal } from './refusal.js';
import { number, t } from './text.js';

const LARGEST = 20 * 1024 * 1024;
const parts = {};
let shown = '';

export function create() {
  parts.file = h('input', { type: 'file', id: 'try-file', accept: 'image/jpeg,image/png', change: look });
  parts.state = h('p', { role: 'status', 'aria-live': 'polite' });
  parts.seen = h('div', { id: 'seen' });
  fill(byId('try'), h('p', {}, t('try.what')), h('p', { class: 'row' }, h('label', { for: 'try-file', class: 'button primary' }, t('try.choose')), parts.file), parts.state, parts.seen);
}

// What another camera's model saw does not stay.
export function show(camera) {
  if (camera !== shown) fill(parts.seen);
  shown = camera;
}

async function look() {
  const camera = shown;
  const [file] = parts.file.files;
  if (!file) return;
  fill(parts.seen);
  parts.file.disabled = true;
  parts.state.textContent = t('try.looking', { name: file.name });
  let made;
  try {
    if (file.size > LARGEST) throw Object.assign(new Error(t('try.large')), { code: 'SIZE_LIMIT' });
    made = seen(file.name, await send('POST', `/api/infer?camera=${camera}`, file));
  } catch (error) {
    made = refusal(error);
  }
  if (camera === shown) fill(parts.seen, made);
  parts.state.textContent = '';
  parts.file.value = '';
  parts.file.disabled = false;
}

function seen(name, made) {
  const rows = made.results.flatMap(lines);
  const alt = rows.length ? rows.map((row) => row.join(' ')).join(', ') : t('found.nothing');
  return h('div', { 'data-results': made.results.map((body) => body.schema).join(' ') },
    h('figure', {}, h('img', { src: `data:image/jpeg;base64,${made.picture}`, alt: `${name}: ${alt}` })),
    rows.length ? table(rows) : h('p', { class: 'warn' }, t('try.nothing', { best: number(made.counts.score_max, 3) })),
    soft(t('try.filters')));
}

function lines(body) {
  if (body.detections) return body.detections.map((one) => [one.label, number(one.score, 2)]);
  if (body.classes) return body.classes.map((one) => [one.label, `${number(one.share * 100, 1)} %`]);
  return body.top.map((one) => [one.group ? `${one.label} (${one.group})` : one.label, number(one.score, 2)]);
}

function table(rows) {
  return h('table', {}, h('caption', { class: 'sr' }, t('try.title')),
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, t('try.label')), h('th', { scope: 'col' }, t('try.score')))),
    h('tbody', {}, rows.slice(0, 50).map(([label, score]) => h('tr', {}, h('td', {}, label), h('td', {}, score)))));
}
