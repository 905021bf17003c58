// Elements from data. Text is always text: nothing here parses markup, and the page's policy forbids it.

import { t } from './text.js';

const said = (value) => value !== null && value !== undefined && value !== '';
const flat = (children) => children.flat(Infinity).filter(said);
const SVG = 'http://www.w3.org/2000/svg';

function put(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (name === 'text') element.textContent = value;
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...flat(children));
  return element;
}

export const h = (tag, attributes, ...children) => put(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => put(document.createElementNS(SVG, tag), attributes, children);
export const soft = (...words) => h('p', { class: 'soft' }, words);
export const todo = (fix) => h('p', { class: 'todo' }, h('b', {}, `${t('health.todo')} `), fix);
export const byId = (id) => document.getElementById(id);

export function fill(element, ...children) {
  element.replaceChildren(...flat(children));
  return element;
}

// Replaces only what changed, so that a screen reader is not told the same thing every two seconds.
export function refill(element, ...children) {
  const made = fill(document.createElement(element.tagName), ...children);
  if (made.innerHTML !== element.innerHTML) element.replaceChildren(...made.childNodes);
}

const MARKS = { pass: '✓', warn: '!', fail: '✗', skip: '–' };

export const mark = (status) => h('span', { class: `mark ${status}`, 'aria-hidden': 'true' }, MARKS[status] || '·');

export function facts(pairs) {
  const rows = pairs.filter(([, value]) => said(value));
  return h('dl', {}, rows.map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
}
