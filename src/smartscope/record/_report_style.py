"""The report's style sheet: one calm page, light and dark, good on paper."""

CSS = """
:root { color-scheme: light dark;
  --paper:#fbfaf7; --card:#ffffff; --ink:#1d2530; --soft:#5c6672; --line:#e4e2dc;
  --base:#8a97a6; --react:#d98a1f; --event:#c8415f; --done:#177e6b; --undone:#b23a3a;
  --c0:#2f6fb0; --c1:#177e6b; --c2:#b5651d; --c3:#8257a8; --c4:#b23a6b; --c5:#66762c; }
@media (prefers-color-scheme: dark) { :root {
  --paper:#12161c; --card:#191f27; --ink:#e6e9ec; --soft:#98a3af; --line:#2b333d;
  --base:#66737f; --react:#f0ac4d; --event:#f0728d; --done:#4fc3a9; --undone:#ef7d7d;
  --c0:#79b2ea; --c1:#4fc3a9; --c2:#e7a15f; --c3:#bd96e0; --c4:#ec86b1; --c5:#b4c46a;
  } }
* { box-sizing:border-box }
body { margin:0; background:var(--paper); color:var(--ink);
  font:15px/1.55 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif }
main { max-width:1040px; margin:0 auto; padding:44px 28px 80px }
h1 { font-size:30px; line-height:1.2; font-weight:650; letter-spacing:-.01em;
  margin:0 0 6px }
h2 { font-size:17px; font-weight:650; margin:44px 0 12px }
h3 { font-size:14px; font-weight:600; margin:0 0 8px }
p { margin:0 0 10px; max-width:72ch } .soft { color:var(--soft) }
.meta { color:var(--soft); font-size:14px; margin:0 0 22px; max-width:none }
.badge { display:inline-block; border-radius:99px; padding:1px 11px; margin-right:8px;
  font-size:13px; font-weight:600; border:1px solid currentColor; color:var(--done) }
.badge.bad { color:var(--undone) } .badge.some { color:var(--react) }
.lead { font-size:18px; line-height:1.55; max-width:66ch }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(124px,1fr));
  gap:12px; margin:24px 0 0 }
.tile,.card { background:var(--card); border:1px solid var(--line); border-radius:12px }
.tile { padding:12px 16px } .card { padding:18px 20px; overflow-x:auto }
.tile b { display:block; font-size:24px; font-weight:600; line-height:1.25;
  font-variant-numeric:tabular-nums }
.tile span { color:var(--soft); font-size:13px }
svg { display:block; width:100%; height:auto }
svg text { fill:var(--soft); font-size:12px } svg .label { fill:var(--ink) }
svg .end { text-anchor:end } svg .mid { text-anchor:middle }
.grid { stroke:var(--line); fill:none } .budget { stroke:var(--undone);
  stroke-dasharray:5 4; fill:none }
.base { stroke:var(--base); fill:none } .react { stroke:var(--react); fill:none }
.event { fill:var(--event) } .done { fill:var(--done) } .imagined { fill:var(--base) }
.undone { fill:var(--card); stroke:var(--undone); stroke-width:1.5 }
.line { fill:none; stroke-width:2 }
.track { fill:none; stroke-width:1.8; vector-effect:non-scaling-stroke;
  stroke-linejoin:round; stroke-linecap:round; opacity:.9 }
.ring { fill:none; stroke:var(--event); stroke-width:2;
  vector-effect:non-scaling-stroke }
.c0{stroke:var(--c0)} .c1{stroke:var(--c1)} .c2{stroke:var(--c2)} .c3{stroke:var(--c3)}
.c4{stroke:var(--c4)} .c5{stroke:var(--c5)}
svg.map { background:#0b0f14; border-radius:8px; max-width:460px }
svg.map .track { stroke-width:1.6 } svg.map .c0{stroke:#79b2ea} svg.map
  .c1{stroke:#4fc3a9}
svg.map .c2{stroke:#e7a15f} svg.map .c3{stroke:#bd96e0} svg.map .c4{stroke:#ec86b1}
svg.map .c5{stroke:#b4c46a} svg.map .ring{stroke:#ff6f91}
.scalebar { stroke:#fff; stroke-width:3; vector-effect:non-scaling-stroke }
svg .scaletext { fill:#fff }
.pair { display:grid; grid-template-columns:repeat(auto-fit,minmax(330px,1fr)); gap:0
  14px }
.key { display:flex; flex-wrap:wrap; gap:4px 20px; margin:12px 0 0; font-size:13px;
  color:var(--soft); padding:0; list-style:none }
.key i { display:inline-block; width:10px; height:10px; border-radius:3px;
  margin-right:7px; vertical-align:-1px }
.strips { display:grid; gap:14px } .strips + p { margin:12px 0 0 }
table + p { margin:14px 0 0 }
.strip header { display:flex; flex-wrap:wrap; gap:4px 14px; align-items:baseline;
  margin-bottom:10px }
.strip header b { font-weight:600 } .film { display:flex; gap:6px; flex-wrap:wrap }
.film figure { margin:0; width:104px } .film img { display:block; width:104px;
  height:104px; object-fit:cover; border-radius:6px; background:#0b0f14;
  image-rendering:auto }
.film figcaption { font-size:12px; color:var(--soft); text-align:center;
  padding-top:3px;
  font-variant-numeric:tabular-nums }
.film .at img { outline:2px solid var(--event); outline-offset:1px }
.film .reaction figcaption { color:var(--react); font-weight:600 }
.true { color:var(--done); font-weight:600 } .false { color:var(--undone);
  font-weight:600 }
.two { display:grid; grid-template-columns:repeat(auto-fit,minmax(330px,1fr));
  gap:14px }
table { border-collapse:collapse; width:100%; font-size:14px }
th { text-align:left; font-weight:600; color:var(--soft); font-size:13px }
th,td { padding:6px 14px 6px 0; border-bottom:1px solid var(--line);
  vertical-align:top }
tr:last-child td { border-bottom:0 }
.n { text-align:right; font-variant-numeric:tabular-nums; white-space:nowrap }
td.status { white-space:nowrap; color:var(--done) }
td.status.imagined { color:var(--soft) }
td.status.not { color:var(--undone) }
.more td { color:var(--soft) }
svg.strip { width:220px } svg.strip text { font-size:11px; font-weight:400 }
.bars { fill:var(--base) } path.p50 { stroke:var(--done); stroke-width:2 }
path.p99 { stroke:var(--react); stroke-width:2 }
span.p50 { color:var(--done) } span.p99 { color:var(--react) }
tr.whole td:first-child { font-weight:600 } tr.whole .soft { font-weight:400 }
details { margin-top:14px } summary { cursor:pointer; color:var(--soft) }
footer { margin-top:52px; color:var(--soft); font-size:13px }
@media print { :root { color-scheme:light; --paper:#fff; --card:#fff; --ink:#111;
  --soft:#555; --line:#ddd; --base:#8a97a6; --react:#b86f0c; --event:#b22a4a;
  --done:#126354; --undone:#a02c2c; --c0:#2f6fb0; --c1:#177e6b; --c2:#b5651d;
  --c3:#8257a8; --c4:#b23a6b; --c5:#66762c }
  main { max-width:none; padding:0 } .card,.tile,.strip,tr { break-inside:avoid }
  h2 { break-after:avoid } * { print-color-adjust:exact;
  -webkit-print-color-adjust:exact } }
"""
