// Talking to the agent: the token, the header that no form can send, refusals as errors, jobs and pictures as streams.

const KEPT = 'camagent-token'; // for this tab only

let token = sessionStorage.getItem(KEPT) || '';

export const hasToken = () => token !== '';

export function useToken(value) {
  token = value.trim();
  if (token) sessionStorage.setItem(KEPT, token);
  else sessionStorage.removeItem(KEPT);
}

export class Refused extends Error {
  constructor(status, report) {
    super(report.what || `HTTP ${status}`);
    this.status = status;
    this.code = report.code || 'UNREADABLE';
    this.evidence = report.evidence || {};
    this.fix = report.fix || '';
  }
}

function headers(more) {
  const made = { 'X-Camagent': '1', ...more };
  if (token) made.Authorization = `Bearer ${token}`;
  return made;
}

async function refusal(status, text) {
  try {
    return new Refused(status, JSON.parse(text));
  } catch {
    return new Refused(status, {});
  }
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { cache: 'no-store', ...options, headers: headers(options.headers) });
  if (!answer.ok) throw await refusal(answer.status, await answer.text());
  return answer;
}

export const get = async (path, options) => (await ask(path, options)).json();
export const send = async (method, path, body, options) => (await ask(path, { method, body, ...options })).json();
export const blob = async (path) => (await ask(path)).blob();

// fetch tells nothing of an upload's progress; this does.
export function upload(path, file, progress) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open('POST', path);
    for (const [name, value] of Object.entries(headers({}))) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => progress(event.loaded, event.total);
    request.onload = async () => {
      if (request.status >= 200 && request.status < 300) done(JSON.parse(request.responseText));
      else failed(await refusal(request.status, request.responseText));
    };
    request.onerror = () => failed(new TypeError('network'));
    request.send(file);
  });
}

// A job's events, one JSON object a line, as they happen.
export async function* events(job) {
  const reader = (await ask(`/api/jobs/${job}`)).body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    rest += decoder.decode(value || new Uint8Array(), { stream: !done });
    const found = rest.split('\n');
    rest = found.pop();
    for (const line of found) if (line) yield JSON.parse(line);
    if (done) return;
  }
}

function joined(first, second) {
  const made = new Uint8Array(first.length + second.length);
  made.set(first);
  made.set(second, first.length);
  return made;
}

function headEnd(bytes) {
  for (let at = 0; at + 3 < bytes.length; at += 1) {
    if (bytes[at] === 13 && bytes[at + 1] === 10 && bytes[at + 2] === 13 && bytes[at + 3] === 10) return at + 4;
  }
  return -1;
}

// The live pictures: {facts, jpeg}. multipart/x-mixed-replace, read here because <img> cannot send a token.
export async function* frames(path, signal) {
  const reader = (await ask(path, { signal })).body.getReader();
  let bytes = new Uint8Array();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    bytes = joined(bytes, value);
    for (let start = headEnd(bytes); start > 0; start = headEnd(bytes)) {
      const head = new TextDecoder().decode(bytes.subarray(0, start));
      const length = Number(/content-length: (\d+)/i.exec(head)[1]);
      if (bytes.length < start + length + 2) break;
      const jpeg = new Blob([bytes.slice(start, start + length)], { type: 'image/jpeg' });
      yield { facts: JSON.parse(/x-camagent-frame: (.*)\r/i.exec(head)[1]), jpeg };
      bytes = bytes.slice(start + length + 2);
    }
  }
}
