"""The page's style sheet: light, readable in print, colours that the colour-blind tell apart."""

STYLE = """
:root { color-scheme: light; --for: 31, 119, 180; --against: 230, 126, 20; --line: #d8dce0; --soft: #5a6572; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: #fff; color: #1c2126;
  font: 16px/1.5 system-ui, "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
p { margin: .4rem 0; }
.soft { color: var(--soft); font-size: .9rem; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0 0; }
.tile { flex: 1 1 9rem; padding: .7rem .9rem; border: 1px solid var(--line); border-radius: .5rem; }
.tile b { display: block; font-size: 1.45rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1rem; }
figure { margin: 0; }
figcaption { color: var(--soft); font-size: .85rem; }
svg { width: 100%; height: auto; display: block; }
svg text { font-size: 11px; fill: #5a6572; }
svg polyline { fill: none; stroke-width: 2; }
svg .grid { stroke: #e6e9ec; }
svg .one { stroke: rgb(var(--for)); } svg circle.one { fill: rgb(var(--for)); }
svg .two { stroke: rgb(var(--against)); } svg circle.two { fill: rgb(var(--against)); }
svg .ideal { stroke: #9aa4ae; stroke-dasharray: 5 4; }
.key { display: inline-block; width: 1.4rem; height: .2rem; margin: 0 .3rem .2rem 0; vertical-align: middle; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem; text-align: end; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; } tr > :first-child { text-align: start; }
th.label { max-width: 16rem; overflow: hidden; text-overflow: ellipsis; }
.confusion td { min-width: 4.5rem; text-align: center; border: 1px solid #fff; }
.confusion tr > :first-child { position: sticky; left: 0; z-index: 1; background: #fff; }
.confusion td small { display: block; opacity: .8; }
.dark { color: #fff; }
.example { margin: 0 0 1rem; padding: .7rem .9rem; border: 1px solid var(--line); border-radius: .5rem; break-inside: avoid; }
.said { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; color: var(--soft); font-size: .9rem; margin-bottom: .4rem; }
.said b { color: #1c2126; overflow-wrap: anywhere; }
.text { max-height: 15rem; overflow: auto; overflow-wrap: anywhere; white-space: pre-wrap; unicode-bidi: plaintext; }
i { font-style: normal; color: #1c2126; border-radius: .2rem; padding: .05rem 0; }
.text .new { text-decoration: underline dotted #9aa4ae; text-underline-offset: .2em; }
@media print { body { padding: 0; } .text { max-height: none; } }
"""
