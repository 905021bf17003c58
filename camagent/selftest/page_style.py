"""The report page's style sheet: light and dark, a phone's width, paper."""

from __future__ import annotations

import base64
import hashlib

CSS = """
:root { color-scheme: light dark;
  --paper: #f6f7f9; --card: #ffffff; --ink: #1c2430; --soft: #5d6878; --line: #dde2e9; --code: #eef1f5;
  --good: #1a7f4b; --warn: #9a6700; --bad: #c02a37; --calm: #68788d; --bar: #3f77c4;
  --good-bg: #e2f4ea; --warn-bg: #fbf1d6; --bad-bg: #fde7e8; --calm-bg: #eef1f5; }
@media screen and (prefers-color-scheme: dark) { :root {
  --paper: #12161c; --card: #1a2029; --ink: #e3e8ef; --soft: #97a3b3; --line: #2c3542; --code: #232b37;
  --good: #58c98d; --warn: #e0b04a; --bad: #ff7d86; --calm: #93a2b5; --bar: #6ea3ee;
  --good-bg: #16301f; --warn-bg: #33290f; --bad-bg: #3a1a1e; --calm-bg: #232b37; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 16px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 40px 0 12px; }
h3 { font-size: 1.1rem; margin: 0; font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
p { margin: 8px 0; overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 1.2em; }
small, .soft { color: var(--soft); font-size: .875rem; }
code { font-family: ui-monospace, monospace; font-size: .9em; background: var(--code); padding: 1px 5px; border-radius: 4px; }
.top { margin: 0 0 4px; }
.notice { border: 1px dashed var(--line); border-radius: 8px; padding: 8px 14px; color: var(--soft); font-size: .875rem; }
.verdict { border-left: 6px solid; border-radius: 8px; padding: 14px 18px; margin: 16px 0; }
.verdict { font-size: 1.15rem; font-weight: 600; }
.pass { color: var(--good); } .warn { color: var(--warn); } .fail { color: var(--bad); } .skip { color: var(--calm); }
.verdict.pass, .tag.pass { background: var(--good-bg); } .verdict.warn, .tag.warn { background: var(--warn-bg); }
.verdict.fail, .tag.fail { background: var(--bad-bg); } .tag.skip { background: var(--calm-bg); }
.tag { display: inline-block; border-radius: 99px; padding: 2px 11px; font-size: .875rem; white-space: nowrap; }
.tag.long { white-space: normal; border-radius: 12px; }
.ladder { display: flex; flex-wrap: wrap; gap: 6px; margin: 16px 0; padding: 0; list-style: none; }
.card, figure, .chartbox { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.card { padding: 16px 18px; margin: 0 0 14px; break-inside: avoid; }
.cause > header { display: flex; flex-wrap: wrap; gap: 10px; align-items: center; }
.fix { font-weight: 600; }
dl { display: grid; grid-template-columns: minmax(110px, max-content) 1fr; gap: 3px 16px; margin: 10px 0 0; }
dt { color: var(--soft); overflow-wrap: anywhere; max-width: 280px; }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
dd > dl { margin: 0; }
.step > header { display: flex; gap: 10px; align-items: baseline; flex-wrap: wrap; }
.step > header > small:last-child { margin-left: auto; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); gap: 14px; }
.pictures { align-items: start; }
figure { margin: 0; overflow: hidden; break-inside: avoid; }
figure img { display: block; width: 100%; height: auto; background: var(--code); }
figcaption { padding: 8px 12px 10px; overflow-wrap: anywhere; }
figcaption b { display: block; }
.nothing { padding: 48px 12px; text-align: center; color: var(--soft); background: var(--code); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); gap: 14px; }
.chartbox { padding: 10px 12px; break-inside: avoid; overflow-wrap: anywhere; }
.wide { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 12px; text-align: left; border-bottom: 1px solid var(--line); vertical-align: middle; }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
.number { text-align: right; white-space: nowrap; }
.name { overflow-wrap: anywhere; min-width: 9em; }
.odd { color: var(--bad); font-weight: 600; }
.chart { display: block; width: 100%; height: auto; font-size: 13px; }
.chart text { fill: var(--soft); }
.chart .column { fill: var(--bar); }
.chart .grid { stroke: var(--line); }
.chart .axis { stroke: var(--soft); }
.chart line.mark { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 4 3; }
.chart text.mark { fill: var(--bad); }
.margin { width: 120px; height: 12px; display: block; }
.margin .track { fill: var(--code); } .margin .zero { fill: var(--soft); }
.margin .gain { fill: var(--good); } .margin .loss { fill: var(--bad); }
@media (max-width: 560px) { main { padding: 16px 12px 32px; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin: 0 0 6px; }
  dd > dl { padding-left: 12px; } }
@media print { body { background: none; font-size: 11pt; } main { max-width: none; padding: 0; }
  .wide { overflow: visible; } h2, .legend { break-after: avoid; } tr { break-inside: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def digest(css: str) -> str:
    """As a page's policy names its one style sheet, so that a browser takes no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()


DIGEST = digest(CSS)
