"""How the HTML report looks: on a desk, on a phone, in the dark, on paper. No fonts, images or colours from elsewhere."""

from __future__ import annotations

# Each colour has its counterpart on the ground it is used on: text at least 4.5 to 1, as WCAG 2 asks (1.4.3).
_LIGHT = """\
--page:#f7f7f5; --card:#fff; --ink:#1b1f24; --soft:#565e68; --line:#d8dbdf; --link:#1d5aa6;
--danger:#a8201a; --danger-on:#fdeeec; --warning:#7d4a00; --warning-on:#fdf3df; --info:#1f5896; --info-on:#e9f1fa;
--good:#17623a; --good-on:#e8f4ec; --host:#3b4a5e; --host-on:#e8ecf1; --guest:#64369b; --guest-on:#f2ebfa;
--none:#565e68; --none-on:#eeefef;"""
_DARK = """\
--page:#15171a; --card:#1e2125; --ink:#e6e8eb; --soft:#a8b0b9; --line:#383d44; --link:#8fbcf4;
--danger:#ff938a; --danger-on:#3b1f1d; --warning:#f2bd66; --warning-on:#352916; --info:#93bef2; --info-on:#1c2b3d;
--good:#86d6a4; --good-on:#193022; --host:#b6c5d8; --host-on:#2a323d; --guest:#d0b5f4; --guest-on:#342748;
--none:#a8b0b9; --none-on:#2a2d32;"""

_TEXT = """\
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;overflow-wrap:anywhere}
.sheet{max-width:70rem;margin:0 auto;padding:2.5rem 1.5rem 3rem}
h1,h2,h3{line-height:1.25;margin:0;font-weight:650;text-wrap:balance}
h1{font-size:2.1rem;letter-spacing:-.015em}
h2{font-size:1.3rem;margin:3rem 0 .35rem}
h3{font-size:1rem}
p{margin:.4rem 0}
ul,ol,dl,dd{margin:0;padding:0;list-style:none}
a{color:var(--link);text-underline-offset:.15em;text-decoration-thickness:1px}
a:focus-visible,summary:focus-visible{outline:2px solid var(--link);outline-offset:2px;border-radius:.2rem}
code,.mono{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
bdi{unicode-bidi:isolate}
.i{width:1em;height:1em;flex:none;vertical-align:-.125em;fill:currentColor;fill-rule:evenodd}
.sprite{display:none}
.soft{color:var(--soft)}
.small{font-size:.875rem}
.danger{--c:var(--danger);--on:var(--danger-on)}
.warning{--c:var(--warning);--on:var(--warning-on)}
.info{--c:var(--info);--on:var(--info-on)}
.good{--c:var(--good);--on:var(--good-on)}
.host{--c:var(--host);--on:var(--host-on)}
.guest,.named{--c:var(--guest);--on:var(--guest-on)}
.free{--c:var(--good);--on:var(--good-on)}
.unknown,.bridge,.idle,.none{--c:var(--none);--on:var(--none-on)}
.badge{display:inline-flex;align-items:center;gap:.35em;padding:.12em .55em;border-radius:1em;background:var(--on);color:var(--c);font-size:.8125rem;font-weight:600;line-height:1.4;white-space:nowrap}
"""
_HEAD = """\
.over{margin:0;color:var(--soft);font-size:.875rem}
.lead{font-size:1.0625rem;max-width:46rem;margin:.9rem 0 0}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:.75rem;margin:1.6rem 0 0}
.figures div{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.7rem .9rem;display:flex;flex-direction:column-reverse;justify-content:flex-end}
.figures dd{font-size:1.7rem;font-weight:650;line-height:1.2;color:var(--c);display:flex;align-items:center;gap:.4rem}
.figures dd .i{width:.7em;height:.7em}
.figures dt{font-size:.875rem;color:var(--soft);line-height:1.35}
nav{margin:1.4rem 0 0;font-size:.9375rem}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem}
.changes{margin:.8rem 0 0;border-top:1px solid var(--line)}
.changes li{display:grid;grid-template-columns:7rem 1fr;gap:.2rem 1rem;padding:.5rem 0;border-bottom:1px solid var(--line)}
"""
_PICTURE = """\
.legend{display:flex;flex-wrap:wrap;gap:.35rem 1.1rem;margin:.7rem 0 .9rem;font-size:.875rem;color:var(--soft)}
.legend li{display:flex;align-items:center;gap:.4rem}
.sq{display:inline-block;flex:none;width:.8rem;height:.8rem;border-radius:.15rem;border:1.5px solid var(--c)}
.sq.host{background:var(--c)}
.sq.guest{background:repeating-linear-gradient(135deg,var(--c) 0 2px,transparent 2px 4px)}
.sq.unknown{border-style:dotted}
.sq.bridge{height:.3rem;border:0;background:var(--line)}
.map{display:flex;flex-wrap:wrap;gap:.4rem;margin:0 0 1.4rem}
.map a{display:flex;align-items:center;gap:.4rem;min-height:2.25rem;padding:.2rem .6rem;border:1px solid var(--line);border-radius:.45rem;background:var(--card);color:var(--ink);text-decoration:none;font-size:.875rem;font-variant-numeric:tabular-nums}
.map a:hover{border-color:var(--c)}
.map .sqs{display:inline-flex;flex-wrap:wrap;align-items:center;gap:.15rem}
.map a.danger{border:2px solid var(--c);background:var(--on);color:var(--c);font-weight:650}
.map a.warning{border:1.5px dashed var(--c);color:var(--c)}
.map a.none{color:var(--soft);background:transparent}
.boxes{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:.9rem;align-items:start;grid-auto-flow:dense}
.box{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.85rem 1rem;min-width:0}
.box.warning{border:1.5px dashed var(--c)}
.box.danger{border:2.5px solid var(--c)}
.box.wide{grid-column:1/-1}
.box>header{display:flex;flex-wrap:wrap;align-items:center;justify-content:space-between;gap:.3rem .8rem}
.box .state{margin:.15rem 0 .6rem;font-size:.875rem;color:var(--soft)}
.box .harm{margin:.5rem 0 .8rem;padding:.55rem .8rem;border-radius:.4rem;background:var(--on);color:var(--c);font-size:.9375rem}
.box .harm li+li{margin-top:.4rem}
.box .harm a{color:inherit}
.cells{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:.5rem}
.cell{border-left:.3rem solid var(--c);background:var(--on);border-radius:.25rem .4rem .4rem .25rem;padding:.5rem .7rem;min-width:0}
.cell.guest{border-left-style:double;border-left-width:.4rem}
.cell.free,.cell.named,.cell.idle,.cell.unknown{border-left-style:dashed}
.cell .name{font-weight:600;font-size:.9375rem;line-height:1.4;margin:.1rem 0}
.cell p{margin:.1rem 0}
.rest{font-size:.8125rem;color:var(--soft)}
.cell .top{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 .8rem}
.who-has{width:100%;margin:.8rem 0 0;border-collapse:collapse;background:var(--card);border:1px solid var(--line);font-size:.875rem;line-height:1.4}
.who-has :is(th,td){padding:.4rem .6rem;text-align:left;vertical-align:top;border-top:1px solid var(--line)}
.who-has td{overflow-wrap:normal}
.who-has thead th{background:var(--none-on);font-size:.8125rem}
.who-has th{font-weight:600}
.who-has thead th:nth-child(n+2):nth-child(-n+3){overflow-wrap:normal}
.who-has th span{display:block;font-weight:400;font-size:.8125rem;color:var(--soft)}
.who{display:inline-flex;align-items:center;gap:.35em;color:var(--c);font-weight:650;font-size:.8125rem;white-space:nowrap}
.who+.who{margin-left:.8em}
.who .i{flex:none}
.topo,.topo ul{margin:.2rem 0 0}
.topo ul{margin-left:.35rem;padding-left:1.1rem;border-left:1.5px solid var(--line)}
.topo .at{display:flex;flex-wrap:wrap;align-items:baseline;gap:.1rem .7rem;margin:.25rem 0;font-size:.875rem}
.topo .sq{align-self:center}
.topo .slot{padding:0 .4rem;border:1px solid var(--line);border-radius:.25rem;background:var(--card)}
.topo .narrow{color:var(--c);font-weight:600}
.board li{padding:.3rem 0;border-bottom:1px solid var(--line);font-size:.875rem}
"""
_LISTS = """\
.guests{margin:.8rem 0 0;background:var(--card);border:1px solid var(--line);border-radius:.6rem}
.guests>li{display:grid;grid-template-columns:minmax(10rem,1.8fr) 11rem 2fr;gap:.2rem 1rem;padding:.6rem 1rem;border-bottom:1px solid var(--line);align-items:baseline}
.guests>li:last-child{border-bottom:0}
.guests .name{font-weight:600;margin:0}
.guests .running{color:var(--good);font-weight:600}
.guests .name span{display:inline-block}
.notes li{padding-left:1.4rem;text-indent:-1.4rem;font-size:.9375rem}
.notes .i,.changes .i{color:var(--c);margin-right:.4rem}
details.rule,details.more{background:var(--card);border:1px solid var(--line);border-radius:.6rem;margin:.7rem 0 0}
details.rule{border-left:.3rem solid var(--c)}
summary{cursor:pointer;padding:.7rem 1rem;border-radius:.6rem}
summary::marker{color:var(--soft)}
details.rule>summary .badge{margin-right:.5rem}
details.rule>summary h3{display:inline;font-size:1rem;font-weight:600}
.tail{display:block;margin:.25rem 0 0;font-size:.875rem;color:var(--soft)}
.inside{padding:0 1rem .9rem}
.found>li{padding:.65rem 0;border-top:1px solid var(--line)}
.found p{margin:.1rem 0}
.found .todo{padding-left:1.1rem;border-left:2px solid var(--line);margin-top:.35rem}
.todo b{font-weight:600}
.todo b+p{display:inline}
.cmd{display:block;width:fit-content;max-width:100%;margin:.3rem 0 .4rem;padding:.25rem .6rem;border:1px solid var(--line);border-radius:.3rem;background:var(--page);color:var(--ink);white-space:pre-wrap;-webkit-user-select:all;user-select:all}
.why{border-top:1px solid var(--line);padding-top:.5rem;max-width:46rem;color:var(--soft);font-size:.9375rem}
.points{list-style:disc;padding-left:1.2rem}
.quiet{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.875rem}
footer{margin-top:3rem;padding-top:1rem;border-top:1px solid var(--line);font-size:.875rem;color:var(--soft)}
footer h2{font-size:.9375rem;margin:0 0 .3rem;color:var(--ink)}
footer li{margin:.15rem 0}
"""
# A filter without a script: the form's state hides what was not chosen. Browsers that cannot look at it get no form.
_KINDS = "".join(
    f".sheet:has(option[value=k-{kind}]:checked) .who-has tbody tr:not(.k-{kind}){{display:none}}"
    for kind in ("display", "network", "storage", "usb", "other")
)
_FILTER = f"@media screen{{{_KINDS}}}\n"
_FILTER += """\
.filter{display:flex;flex-wrap:wrap;align-items:center;gap:.4rem 1.2rem;margin:3rem 0 -1.5rem;padding:.6rem 1rem;background:var(--card);border:1px solid var(--line);border-radius:.6rem;font-size:.9375rem}
.filter fieldset{display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:0;padding:0;border:0}
.filter legend{float:left;padding:0;margin-right:1rem;font-weight:600;line-height:1.75rem}
.filter label{display:inline-flex;align-items:center;gap:.4rem;min-height:1.75rem;max-width:100%}
.filter label{overflow-wrap:normal}
.filter input{accent-color:var(--link);margin:0;width:1rem;height:1rem}
.filter select,.filter button{font:inherit;color:var(--ink);background:var(--page);border:1px solid var(--line);border-radius:.35rem;padding:.15rem .5rem;min-height:1.75rem}
.filter select{flex:0 1 18rem;width:18rem;min-width:0}
.filter :focus-visible{outline:2px solid var(--link);outline-offset:2px}
.filter button{visibility:hidden;cursor:pointer}
.filter.kinds{position:static;margin:.8rem 0}
.shown{display:none}
.rules{counter-reset:rules}
.rule{counter-increment:rules}
.shown::before{content:counter(rules)}
.sheet:has(#least-all:not(:checked),option[value=all]:not(:checked)){.filter button{visibility:visible}.shown{display:block}.fine{display:none}}
.sheet:has(#least-block:checked) :is(.rule,.guests>li):not(.danger){display:none}
.sheet:has(#least-warning:checked) :is(.rule,.guests>li):not(.danger,.warning){display:none}
.guests>li:has(:target){outline:2px solid var(--link);outline-offset:-2px;border-radius:.6rem}
@supports not selector(:has(a)){.filter{display:none}}
@media (min-width:50rem) and (min-height:30rem){.filter{position:sticky;top:0;z-index:1}:target{scroll-margin-top:4rem}}
"""
# The table of devices as a list, where its columns have no room.
_STACKED = """
.who-has{0},.who-has{0} :is(tbody,tr,th,td){{display:block;border:0}}
.who-has{0} thead,.who-has{0} td:not([data-of]){{display:none}}
.who-has{0} tr{{padding:.5rem .75rem;border-top:1px solid var(--line)}}
.who-has{0} :is(th,td){{padding:.1rem 0}}
.who-has{0} td::before{{content:attr(data-of);display:inline-block;min-width:4.5rem;color:var(--soft)}}
"""
_PHONE = f"""\
@media screen and (max-width:60rem){{{_STACKED.format(".many")}}}
@media screen and (max-width:40rem){{{_STACKED.format("")}}}
"""
_PHONE += """\
@media (max-width:40rem){
.sheet{padding:1.5rem .9rem 2rem}
h1{font-size:1.7rem}
h2{margin-top:2.3rem}
.figures{grid-template-columns:repeat(2,1fr);gap:.5rem}
.changes li{grid-template-columns:1fr}
.map a{min-height:2.75rem;padding:.2rem .7rem}
.box{padding:.75rem .75rem}
.guests>li{grid-template-columns:1fr;padding:.6rem .75rem}
summary,.inside{padding-inline:.75rem}
}
"""
# Two columns of small type. What is long may be broken between pages, but no heading stands at the end of one.
_PAPER = """\
@media print{
@page{size:A4;margin:12mm}
:root{color-scheme:light}
html{font-size:8.5pt}
body{background:#fff;line-height:1.4;orphans:3;widows:3}
.sheet{max-width:none;padding:0 1px}
nav,.map,.filter{display:none}
.cell,.harm,.figures>div,.guests>li,.changes li,.found>li,.board li,.topo .at,tr,summary,.box>header{break-inside:avoid}
.box:not(.wide){break-inside:avoid}
h1,h2,h2+p,h3,.box>header,.box>.state,.legend,summary{break-after:avoid}
h2{margin-top:1.6rem}
.lead{font-size:1rem;max-width:none;margin-top:.5rem}
.figures{grid-template-columns:repeat(5,1fr);margin-top:.8rem}
.figures>div{padding:.4rem .7rem}
.figures dd{font-size:1.3rem}
.boxes,.rules{display:block;columns:2;column-gap:.9rem}
.box{margin:0 0 .9rem;padding:.6rem .8rem}
.who-has :is(th,td){padding:.2rem .5rem}
.topo .at{margin:.1rem 0}
.rest.bridge{break-before:avoid}
.box.wide{column-span:all}
.cells{grid-template-columns:1fr}
.wide .cells{grid-template-columns:repeat(2,1fr)}
.guests>li{grid-template-columns:1.6fr 11rem 1.6fr;padding:.35rem .8rem}
details.rule,details.more{margin:0 0 .8rem;-webkit-box-decoration-break:clone;box-decoration-break:clone}
details.more{margin-top:.8rem}
summary{padding:.45rem .8rem .3rem;list-style:none}
.inside{padding:0 .8rem .5rem}
.found>li{padding:.4rem 0}
.why{max-width:none}
footer{margin-top:1.6rem}
a{color:inherit;text-decoration:none}
.sq,.badge,.cell,.harm,.map a{-webkit-print-color-adjust:exact;print-color-adjust:exact}
details::details-content{content-visibility:visible;block-size:auto;height:auto}
details>*{display:revert}
}
"""
STYLE = (
    f":root{{color-scheme:light dark;{_LIGHT}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}\n"
    f"{_TEXT}{_HEAD}{_PICTURE}{_LISTS}{_FILTER}{_PHONE}{_PAPER}"
)

# Drawn on a square of 16: what a colour says, said once more by a form.
SHAPES = {
    "danger": "M8 1 0.6 14.5h14.8L8 1Zm-.9 4.6h1.8v4.6H7.1V5.6Zm0 5.6h1.8V13H7.1v-1.8Z",
    "warning": "M1.5 1.5h13v13h-13v-13Zm5.6 2.6v5h1.8v-5H7.1Zm0 6v1.8h1.8v-1.8H7.1Z",
    "info": "M8 .8a7.2 7.2 0 1 0 0 14.4A7.2 7.2 0 0 0 8 .8Zm-.9 6.3h1.8v5H7.1v-5Zm0-3h1.8v1.8H7.1V4.1Z",
    "good": "M6.3 13.2 1.2 8.1l1.6-1.6 3.5 3.5 7-7 1.6 1.6-8.6 8.6Z",
    "host": "M1 2h14v5H1V2Zm2 1.7v1.6h1.6V3.7H3ZM1 9h14v5H1V9Zm2 1.7v1.6h1.6v-1.6H3Z",
    "guest": "M1 2h14v9.5H9.5V13H12v1.5H4V13h2.5v-1.5H1V2Zm1.7 1.7v6.1h10.6V3.7H2.7Z",
    "free": "M8 .8a7.2 7.2 0 1 0 0 14.4A7.2 7.2 0 0 0 8 .8Zm0 1.8a5.4 5.4 0 1 1 0 10.8A5.4 5.4 0 0 1 8 2.6Z",
    "unknown": "M5 5.5C5 3.6 6.3 2.4 8.1 2.4c1.8 0 3.1 1.1 3.1 2.8 0 1.3-.7 2-1.5 2.6-.6.5-.9.8-.9 1.6H7c0-1.6.6-2.3 1.4-2.9.6-.4.9-.7.9-1.3 0-.6-.5-1.1-1.2-1.1-.8 0-1.3.5-1.3 1.4H5Zm2 5.4h1.9v1.9H7v-1.9Z",
    "none": "M2 7h12v2H2V7Z",
}
