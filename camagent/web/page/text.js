// Every word of the page, by id. A language is a file text.<tag>.json and a row here.

export const LANGUAGES = { en: 'English', 'zh-CN': '简体中文' };

let words = {};
let spare = {};
export let language = 'en';

function wanted() {
  const kept = localStorage.getItem('camagent-language');
  if (kept in LANGUAGES) return kept;
  for (const tag of navigator.languages || [navigator.language]) {
    const found = Object.keys(LANGUAGES).find((known) => tag === known || tag.split('-')[0] === known.split('-')[0]);
    if (found) return found;
  }
  return 'en';
}

const read = async (tag) => (await fetch(`/page/text.${tag}.json`)).json();

export async function load() {
  language = wanted();
  spare = await read('en');
  words = language === 'en' ? spare : await read(language);
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll('[data-t]')) element.textContent = t(element.dataset.t);
  for (const title of document.querySelectorAll('section h2')) title.closest('section').setAttribute('aria-label', title.textContent);
  for (const element of document.querySelectorAll('[data-label]')) element.setAttribute('aria-label', t(element.dataset.label));
}

export function chooseLanguage(tag) {
  localStorage.setItem('camagent-language', tag);
  location.reload();
}

export const has = (id) => id in words || id in spare;

// t('found.count', {label: 'car', count: 2}): {name} in the text is replaced.
export function t(id, values = {}) {
  const text = words[id] ?? spare[id] ?? id;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language, { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);
