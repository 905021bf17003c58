// Run the self-test and read its report: verdict, causes with evidence and fix, steps, pictures.

import { blob, events, hasToken, send } from './api.js';
import { byId, facts, fill, h, mark, refill, soft } from './dom.js';
import { inEnglish, meaning, refusal } from './refusal.js';
import { has, language, number, t } from './text.js';

const STATUS = { healthy: 'pass', fault: 'fail', inconclusive: 'warn' };
const parts = {};
let shown = '';

export function create(camera) {
  parts.go = h('button', { class: 'primary', id: 'test-go', click: () => run(camera()) }, t('test.go'));
  parts.state = h('p', { role: 'status', 'aria-live': 'polite' });
  parts.bar = h('progress', { hidden: true, 'aria-label': t('test.title') });
  parts.report = h('div', { id: 'report' });
  fill(byId('test'), h('p', {}, t('test.what')), parts.go, parts.bar, parts.state, parts.report);
}

// What a report says of one camera; null where it says nothing. A report of several names it in every step and cause.
function about(last, camera) {
  const { cameras, camera: only } = (last && last.subject) || {};
  if (!cameras) return only === camera ? last : null;
  if (!(camera in cameras)) return null;
  const causes = last.causes.filter((one) => one.evidence.camera === camera);
  const steps = last.steps.filter((one) => one.measured.camera === camera);
  const verdict = causes.length || last.verdict === 'inconclusive' ? last.verdict : 'healthy';
  return { ...last, verdict, causes, steps };
}

// The last report that the agent knows of this camera, where this page has not just made one.
export function update(status, camera) {
  if (parts.go.disabled || shown === `mine/${camera}`) return;
  const last = about(status.selftest, camera);
  const id = last ? `${last.time}/${camera}` : `none/${camera}`;
  if (id === shown) return;
  shown = id;
  if (last) fill(parts.report, soft(t('test.last', { when: new Date(last.time * 1000).toLocaleString() })), report(last));
  else refill(parts.report, soft(t('test.none')));
}

async function run(camera) {
  parts.go.disabled = true;
  parts.bar.hidden = false;
  fill(parts.report);
  shown = `mine/${camera}`;
  const pictures = [];
  try {
    const { job } = await send('POST', `/api/selftest?camera=${camera}&whole=1`);
    for await (const event of events(job)) {
      if (event.state) parts.state.textContent = event.state;
      if (event.exhibit) pictures.push(event.exhibit);
      if (event.refusal) fill(parts.report, refusal(event.refusal));
      if (event.result) fill(parts.report, report(event.result), exhibits(pictures), await link(job));
    }
  } catch (error) {
    fill(parts.report, refusal(error));
  }
  parts.state.textContent = '';
  parts.bar.hidden = true;
  parts.go.disabled = false;
}

// With a token a link cannot be opened: a new tab does not send it. Then the page is saved.
async function link(job) {
  const path = `/api/jobs/${job}/report?lang=${language}`;
  if (!hasToken()) return h('p', {}, h('a', { href: path, target: '_blank', rel: 'noopener' }, t('test.page')));
  const url = URL.createObjectURL(await blob(path));
  return h('p', {}, h('a', { href: url, download: 'self-test.html' }, t('test.save')));
}

function report(made) {
  const status = STATUS[made.verdict];
  return h('div', { 'data-verdict': made.verdict },
    h('p', { class: `verdict ${status}` }, mark(status), ` ${t(`verdict.${made.verdict}`)}`),
    made.causes.map(cause),
    h('details', {}, h('summary', {}, t('test.steps', { steps: number(made.steps.length), seconds: number(made.seconds, 1) })),
      h('ul', { class: 'steps' }, made.steps.map((step) => h('li', { class: step.status }, mark(step.status), h('span', { class: 'sr' }, t(`status.${step.status}`)), h('span', {}, step.id))))));
}

function cause(found) {
  const verified = found.fix_verified === true ? 'pass' : found.fix_verified === false ? 'warn' : 'skip';
  const id = `reason.${found.id}`;
  return h('article', { class: 'box', 'data-cause': found.id },
    h('h3', {}, has(id) ? t(id) : found.id), has(id) ? soft(found.id) : null,
    found.alternatives.length ? soft(t('test.or', { others: found.alternatives.join(', ') })) : null,
    meaning(found.id), inEnglish(found.fix),
    h('p', { class: verified }, mark(verified), ` ${t(`test.fix.${found.fix_verified}`)}`),
    h('details', {}, h('summary', {}, t('test.evidence')), facts(Object.entries(found.evidence).map(([name, value]) => [name, typeof value === 'object' ? JSON.stringify(value) : String(value)]))),
    found.send.length ? soft(t('test.send', { items: found.send.join('; ') })) : null);
}

function exhibits(pictures) {
  const seen = pictures.filter((picture) => picture.image);
  if (!seen.length) return null;
  const kind = (image) => (image.startsWith('iVBOR') ? 'image/png' : 'image/jpeg');
  return h('details', {}, h('summary', {}, t('test.pictures', { pictures: number(seen.length) })),
    h('div', { class: 'pictures' }, seen.map((picture) => h('figure', {}, h('img', { src: `data:${kind(picture.image)};base64,${picture.image}`, alt: picture.title }), h('figcaption', {}, picture.title, ' ', h('small', {}, picture.caption))))));
}
