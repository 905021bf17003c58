// Bundles: upload with the checklist that the camera goes through, what is stored, activate, roll back.

import { events, send, upload } from './api.js';
import { byId, fill, h, refill, soft } from './dom.js';
import { refusal, step } from './refusal.js';
import { number, t } from './text.js';

const parts = {};

export function create() {
  parts.file = h('input', { type: 'file', id: 'bundle-file', accept: '.cambundle', change: () => start() });
  parts.bar = h('progress', { max: 1, value: 0, hidden: true, 'aria-label': t('bundles.progress') });
  parts.state = h('p', { role: 'status', 'aria-live': 'polite', id: 'bundle-state' });
  parts.list = h('ul', { class: 'steps', id: 'checklist', 'aria-label': t('bundles.checklist') });
  parts.end = h('div', { id: 'bundle-end' });
  parts.stored = h('div', {});
  fill(byId('bundles'),
    h('p', {}, t('bundles.what')),
    h('p', { class: 'row' }, h('label', { for: 'bundle-file', class: 'button primary' }, t('bundles.choose')), parts.file),
    parts.bar, parts.state, parts.list, parts.end, parts.stored);
}

function begin(words) {
  parts.bar.hidden = false;
  parts.bar.removeAttribute('value');
  parts.state.textContent = words;
  fill(parts.list);
  fill(parts.end);
  parts.file.disabled = true;
}

function over() {
  parts.bar.hidden = true;
  parts.state.textContent = '';
  parts.file.value = '';
  parts.file.disabled = false;
}

async function start() {
  const [file] = parts.file.files;
  if (!file) return;
  begin(t('bundles.sending', { name: file.name }));
  try {
    const { job } = await upload('/api/bundles', file, (done, of) => {
      parts.bar.value = done / of;
      parts.state.textContent = t('bundles.sent', { name: file.name, percent: number((100 * done) / of) });
    });
    await follow(job);
  } catch (error) {
    fill(parts.end, refusal(error));
  }
  over();
}

// Every event of a job: checklist, state, progress, the end.
async function follow(job) {
  for await (const event of events(job)) {
    if (event.step) parts.list.append(step(event.step));
    if (event.state) parts.state.textContent = t(`bundles.state.${event.state}`);
    if (event.progress && event.progress.of) parts.bar.value = event.progress.done / event.progress.of;
    if (event.refusal) fill(parts.end, refusal(event.refusal));
    if (event.result) fill(parts.end, accepted(event.result));
  }
}

function accepted(result) {
  const outcome = t(`outcome.${result.outcome}`);
  return h('div', { class: 'box pass', 'data-outcome': result.outcome },
    h('p', {}, h('b', {}, `${result.name} ${result.version}`), ` ${outcome}`), result.hint ? h('p', {}, result.hint) : null);
}

async function order(path, words) {
  begin(words);
  try {
    const answer = await send('POST', path);
    if (answer.outcome) fill(parts.end, accepted(answer));
    else await follow(answer.job);
  } catch (error) {
    fill(parts.end, refusal(error));
  }
  over();
}

const activate = (name, version) => () => order(`/api/bundles/${encodeURIComponent(name)}/activate?version=${encodeURIComponent(version)}`, t('bundles.activating', { name, version }));
const rollback = (name) => () => order(`/api/bundles/${encodeURIComponent(name)}/rollback`, t('bundles.going-back', { name }));

let told = '';

export function update(status) {
  const bundles = Object.entries(status.bundles || {});
  const now = JSON.stringify(bundles.map(([name, slots]) => [name, { ...slots, progress: null }]));
  if (now === told) return; // the buttons keep their focus
  told = now;
  if (!bundles.length) return refill(parts.stored, soft(t('bundles.none')));
  fill(parts.stored, bundles.map(([name, slots]) => stored(name, slots)));
}

function stored(name, slots) {
  const slot = (version) => ['trial', 'current', 'previous'].find((one) => slots[one] === version);
  const versions = slots.stored.map((version) =>
    h('li', {}, h('b', {}, version), slot(version) ? ` ${t(`slot.${slot(version)}`)}` : '',
      version === slots.current ? null : h('button', { click: activate(name, version), 'aria-label': t('bundles.activate-this', { name, version }) }, t('bundles.activate'))));
  const last = slots.last_refusal;
  return h('div', { class: 'stored' }, h('h3', {}, name),
    versions.length ? h('ul', { class: 'versions' }, versions) : null,
    slots.previous ? h('button', { click: rollback(name), 'aria-label': t('bundles.rollback-this', { name }) }, t('bundles.rollback')) : null,
    slots.waiting ? h('p', { class: 'warn' }, slots.waiting) : null,
    last ? h('details', {}, h('summary', {}, t('bundles.refused', { version: last.version })), refusal(last)) : null);
}
