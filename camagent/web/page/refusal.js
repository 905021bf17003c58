// A refusal as people read it: what, both sides, what to do; and the checklist of a bundle.

import { get } from './api.js';
import { facts, fill, h, mark, todo } from './dom.js';
import { has, language, t } from './text.js';

// What a code means in general, in the reader's language. What the agent says of this very case is English.
export function meaning(code) {
  const box = h('div', {});
  const put = ({ means, fix }) => fill(box, means ? h('p', {}, means) : null, fix ? todo(fix) : null);
  get(`/page/words/${language}/${code}`).then(put).catch(() => {});
  return box;
}

export const inEnglish = (fix) => (language === 'en' ? todo(fix) : h('p', { lang: 'en' }, fix));

export function refusal(error) {
  if (error.code === undefined) return h('div', { class: 'box fail', role: 'alert' }, h('p', {}, t('unreachable')));
  return h('div', { class: 'box fail', role: 'alert', 'data-code': error.code },
    h('p', {}, h('b', {}, error.code), ` ${error.message || error.what}`), meaning(error.code),
    facts(Object.entries(error.evidence || {})),
    error.fix ? inEnglish(error.fix) : null);
}

const cut = (value) => (/^[0-9a-f]{40,}$/.test(value) ? `${String(value).slice(0, 12)}…` : value);
// A refusal is told in full below the list.
const short = (measured = {}) => measured.code || Object.entries(measured).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${cut(value)}`).join(' · ');

export function step({ id, status, measured }) {
  return h('li', { class: status, 'data-step': id, 'data-status': status },
    mark(status), h('span', { class: 'sr' }, t(`status.${status}`)), h('span', {}, has(`check.${id}`) ? t(`check.${id}`) : id), h('small', {}, short(measured)));
}
