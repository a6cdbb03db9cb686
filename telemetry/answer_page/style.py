"""How a page looks: on paper, dark screens and narrow ones."""

STYLE = """
:root{color-scheme:light dark;--ink:#1c1c1c;--paper:#ffffff;--faint:#5c5c5c;--line:#d0d0d0;
--bad:#a1260d;--bad-paper:#fdecea;--good:#1b6e3c;--for:#2166ac;--against:#b35806;--shade:#8883}
@media (prefers-color-scheme:dark){:root{--ink:#ececec;--paper:#161616;--faint:#a8a8a8;
--line:#444;--bad:#ff9b85;--bad-paper:#3a1a14;--good:#7fd39b;--for:#7db7ec;--against:#f0a35e}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:1rem}
h2{font-size:1.05rem;margin:1.5rem 0 .3rem}
h1{font-size:1.25rem;overflow-wrap:anywhere}
section{border-top:1px solid var(--line);margin-top:1.5rem;padding-top:.5rem}
p{margin:.5rem 0;overflow-wrap:anywhere}
.answer{font-size:1.2rem;font-weight:600}
.failed{font-size:1.2rem;font-weight:600;color:var(--bad);background:var(--bad-paper);
border-left:.3rem solid var(--bad);padding:.4rem .7rem}
.note{border-left:.3rem solid var(--against);padding-left:.7rem}
.foot,figcaption,caption,.unit{color:var(--faint);font-size:.875rem}
figure{margin:1rem 0}
figure img{display:block;max-width:100%;height:auto;border:1px solid var(--line)}
svg{display:block;width:100%;max-width:44rem;height:auto}
svg text{fill:var(--ink);font:12px system-ui,sans-serif}
.gallery{display:grid;
grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr));gap:0 1rem}
.gallery figure{margin:.5rem 0}
.gallery div:target{outline:.2rem solid var(--for)}
a{color:var(--for)}
.wide{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
caption{text-align:left;padding-bottom:.25rem;white-space:nowrap}
th,td{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top;
border-bottom:1px solid var(--line);overflow-wrap:break-word;max-width:24rem}
th.n,td.n{text-align:right;white-space:nowrap}
td.bad{color:var(--bad);font-weight:600}
td.good{color:var(--good)}
.tokens{line-height:1.2}
.token{display:inline-block;text-align:center;margin:.15rem .1rem;vertical-align:top}
.token b{display:block;font-weight:400;padding:.1rem .3rem;border:1px solid var(--line);
white-space:pre-wrap;overflow-wrap:anywhere}
.token small{color:var(--ink)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:1rem 0}
dt{color:var(--faint)}
dd{margin:0;overflow-wrap:anywhere}
@media (max-width:34rem){dl{display:block}dd{margin-bottom:.4rem}}
@media print{section{break-inside:avoid}}
""".strip().replace("\n", "")
