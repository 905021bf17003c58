// Start here: asks the agent for its status every two seconds while somebody looks, and hands it to the panels.

import { get, useToken } from './api.js';
import * as bundles from './bundles.js';
import { History, funnel, graph, latency } from './charts.js';
import { byId, fill, h } from './dom.js';
import { Editor } from './editor.js';
import { Live } from './live.js';
import { health, hints, model, tone } from './panels.js';
import * as selftest from './selftest.js';
import { LANGUAGES, chooseLanguage, language, load, t } from './text.js';
import * as trying from './try.js';

const EVERY_MS = 2000;
const PATIENCE = 10; // readings
const history = new History();
let camera = decodeURIComponent(location.hash.slice(1));
let live;
let editor;
let status = null;
let missed = 0;
const seen = new Set();

// A camera that starts anew is away for a moment: nobody is led to another one meanwhile.
function choose(names) {
  names.forEach((name) => seen.add(name));
  missed = names.includes(camera) ? 0 : missed + 1;
  if (missed && (!seen.has(camera) || missed > PATIENCE)) {
    camera = names[0] || '';
    missed = 0;
  }
}

function tabs(cameras) {
  const box = byId('cameras');
  const names = cameras.map((one) => one.camera).join(' ');
  if (box.dataset.names !== names) {
    box.dataset.names = names;
    fill(box, cameras.map((one) => h('button', { 'data-camera': one.camera, click: () => pick(one.camera) }, h('span', { class: 'light', 'aria-hidden': 'true' }), one.camera, h('span', { class: 'sr' }))));
  }
  for (const button of box.children) {
    const one = cameras.find((each) => each.camera === button.dataset.camera);
    button.setAttribute('aria-pressed', String(one.camera === camera));
    button.firstChild.setAttribute('class', `light ${tone(one)}`);
    button.lastChild.textContent = `, ${t(`status.${tone(one)}`)}`;
  }
}

function pick(name) {
  if (name === camera || (editor.dirty && !window.confirm(t('edit.leave')))) return;
  camera = name;
  window.history.replaceState(null, '', `#${encodeURIComponent(name)}`);
  render();
}

function render() {
  const cameras = status.cameras || [];
  byId('agent').textContent = status.agent.agent;
  byId('about').textContent = t('about', { version: status.agent.version });
  hints(status);
  bundles.update(status);
  choose(cameras.map((one) => one.camera));
  const one = cameras.find((each) => each.camera === camera);
  if (!one && missed) return null;
  tabs(cameras);
  byId('content').classList.toggle('bare', !one);
  if (!one) return null;
  live.show(camera);
  editor.show(camera);
  trying.show(camera);
  health(one);
  model(one, status);
  latency(one);
  const recent = history.recent(camera);
  funnel(one, recent);
  graph(one, status, recent);
  return selftest.update(status, camera);
}

function banner(words) {
  const box = byId('banner');
  if (box.textContent !== words) fill(box, words ? h('p', { class: 'box fail' }, words) : null);
}

function needToken(error) {
  const first = byId('token').hidden;
  byId('token').hidden = false;
  byId('content').hidden = true;
  byId('token-error').textContent = error.code === 'TOKEN_NEEDED' ? '' : `${error.message}. ${error.fix}`;
  if (first) byId('token-input').focus();
}

async function poll() {
  try {
    status = await get('/api/status');
    for (const one of status.cameras || []) history.take(one, performance.now());
    byId('token').hidden = true;
    byId('content').hidden = false;
    banner('');
    render();
  } catch (error) {
    if (error.status === 401 || error.status === 429) return needToken(error);
    if (error.code) banner(`${error.code}: ${error.message}`);
    else if (error instanceof TypeError && !status) banner(t('unreachable'));
    else banner(error instanceof TypeError ? t('unreachable') : String(error));
  }
  return null;
}

async function turns() {
  for (;;) {
    if (!document.hidden && byId('token').hidden) await poll();
    await new Promise((wake) => setTimeout(wake, EVERY_MS));
  }
}

function languages() {
  const tags = Object.keys(LANGUAGES);
  byId('language-label').hidden = tags.length < 2;
  fill(byId('language'), tags.map((tag) => h('option', { value: tag, lang: tag, selected: tag === language }, LANGUAGES[tag])));
  byId('language').addEventListener('change', (event) => chooseLanguage(event.target.value));
}

async function start() {
  await load();
  languages();
  live = new Live((width, height) => editor.resize(width, height));
  editor = new Editor();
  bundles.create();
  selftest.create(() => camera);
  trying.create();
  live.follow();
  byId('token').addEventListener('submit', (event) => {
    event.preventDefault();
    useToken(byId('token-input').value);
    poll();
  });
  document.addEventListener('visibilitychange', () => !document.hidden && byId('token').hidden && poll());
  turns();
}

start();
