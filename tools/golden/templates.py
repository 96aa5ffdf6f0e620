"""Jinja2 with the settings of transformers' apply_chat_template, against which chat templates are held.

Needs nothing but Jinja2 (requirements.txt): transformers is not imported, its environment is set up as in its
utils/chat_template_utils.py. The snippets are of this file; the templates are written anew, in the style of the model families that the
README names, and lie beside it in templates/.
"""

import datetime
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

from common import DATA, write

NOW = datetime.datetime(2026, 3, 5, 14, 7, 9)

CONTEXT = {
    "s": "Hello World", "p": "  padded\t\n", "e": "", "n": 5, "f": 2.5, "neg": -7, "yes": True, "no": False, "none_": None,
    "l": [3, 1, 2], "ls": ["a", "B", "c"], "d": {"b": 1, "a": 2, "nested": {"x": [1, 2], "y": None}},
    "rows": [{"name": "x", "v": 1}, {"name": "y", "v": 2}, {"name": "z", "v": 1}],
    "uni": "Gr\u00fc\u00dfe \u4f60\u597d", "html": "<b>&\"'</b>", "csv": "a,b,,c", "lines": "one\ntwo\r\nthree\n",
    "tool": {"type": "function", "function": {"name": "get_weather", "description": "Weather of a place.",
             "parameters": {"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer", "default": 3},
                                                              "exact": {"type": ["boolean", "null"]}}, "required": ["place"]}}},
}
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " What is 2 + 2? "},
    {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\nFour."},
    {"role": "user", "content": "And \"3 < 4\"?\n"},
]

STRINGS = """
s.upper() s.lower() s.title() s.capitalize() s.swapcase() s.casefold() s.strip('Hd') s.lstrip('He') s.rstrip('dl')
p.strip() p.lstrip() p.rstrip() s.replace('l','L') s.replace('l','L',1) s.replace('','-') s.replace('zz','y')
s.removeprefix('Hello') s.removeprefix('World') s.removesuffix('World') s.removesuffix('Hello') s.removeprefix('')
s.split() s.split('o') s.split('o',1) s.split(None,1) s.split(maxsplit=1) s.split('o',maxsplit=1) s.split(sep='o') csv.split(',') csv.split(',',2) csv.split(',',-1)
s.rsplit() s.rsplit('o') s.rsplit('o',1) s.rsplit(None,1) s.rsplit(maxsplit=1) csv.rsplit(',',1) csv.rsplit(',',maxsplit=2) p.split() p.rsplit() p.split(None,0)
s.partition('o') s.partition('zz') s.rpartition('o') s.rpartition('zz') s.partition(' ')[2] s.rpartition(' ')[0]
s.index('o') s.index('o',5) s.rindex('o') s.find('o') s.find('zz') s.find('o',5) s.find('o',5,6) s.rfind('o') s.rfind('o',0,5) s.find('') uni.find('\u00df') uni.index('\u4f60')
s.count('l') s.count('zz') s.count('') s.count('o',5) s.count('l',0,4)
s.startswith('He') s.startswith('Wo',6) s.startswith(('x','He')) s.endswith('ld') s.endswith(('x','ld')) s.startswith('') s.startswith('el',1,3) s.endswith('lo',0,5)
s.zfill(15) '-5'.zfill(4) '+5'.zfill(4) '5'.zfill(0) s.center(20) s.center(20,'*') s.center(21,'*') s.center(5) 'ab'.center(5,'-') 'abc'.center(6,'-') s.ljust(15)~'|' s.ljust(15,'.') s.rjust(15) s.rjust(15,'.')
s.isalpha() s.isdigit() s.isalnum() s.isspace() s.isupper() s.islower() s.istitle() s.isnumeric() s.isdecimal() s.isidentifier() s.isascii() s.isprintable()
'12'.isdigit() '12'.isdecimal() ''.isdigit() ''.isalpha() 'abc'.isalpha() ' '.isspace() 'ABC'.isupper() 'abc1'.isalnum() 'abc'.isidentifier() '1a'.isidentifier() '\u00b2'.isdigit() '\u00b2'.isdecimal() '\u00bd'.isnumeric() '\u00bd'.isdigit() uni.isascii() 'a1'.islower() 'Ab'.islower() '12'.islower()
'-'.join(ls) ', '.join(['x']) ''.join([]) '-'.join('abc') '-'.join(ls|map('upper'))
lines.splitlines() lines.splitlines(true) lines.splitlines(keepends=true) ''.splitlines() 'a\\x0bb\\x0cc'.splitlines() 'a\\n\\nb'.splitlines()
'a\\tb'.expandtabs() 'a\\tb'.expandtabs(4) s.title()[0] 'they\\'re bill\\'s'.title() '\u00df'.upper() 'x1y'.title()
'{} and {}'.format(1,'b') '{1} {0}'.format('a','b') '{x} {y}'.format(x=1,y='z') '{:>5}|'.format('ab') '{:.2f}'.format(f) '{{}}'.format() '{0[0]}'.format(l) '{:05d}'.format(n)
'%s' % s '%d items' % n '%s and %s' % (1,'b') '%5.2f' % f '%r' % s '%%' % () '%x' % 255 '%03d' % 7 '%(a)s' % d '%-5s|' % 'ab' '%+d' % 5
"""
FILTERS = """
s|upper s|lower s|title s|capitalize s|trim p|trim s|trim('Hd') s|length ls|length d|length e|length s|count s|reverse l|reverse|list s|first s|last l|first l|last []|first
l|sort l|sort(reverse=true) ls|sort ls|sort(case_sensitive=true) rows|sort(attribute='v')|map(attribute='name')|join rows|sort(attribute='v,name')|map(attribute='name')|join l|sum l|max l|min ls|max ls|min rows|sum(attribute='v') l|sum(start=10) rows|max(attribute='v')
l|join l|join(',') ls|join(', ') rows|join(',',attribute='name') s|list e|list d|list d|items|list d|dictsort d|dictsort(reverse=true) {'B':1,'a':2}|dictsort {'B':1,'a':2}|dictsort(true) {'x':2,'y':1}|dictsort(false,'value') {'x':2,'y':1}|dictsort(by='value')
missing|default('x') missing|default e|default('x') e|default('x',true) e|default('x',boolean=true) none_|default('x') none_|default('x',true) missing|d('y') 0|default(1,true) l|default('x')
s|replace('l','L') s|replace('l','L',1) s|replace('o','0',count=1) s|wordcount p|wordcount e|wordcount 'a-b c_d'|wordcount s|truncate(5) s|truncate(8,true) s|truncate(8,true,'') s|truncate(255) s|truncate(5,leeway=0) s|truncate(7,false,'..',0) s|truncate(8,killwords=true,end='~',leeway=0)
lines|indent lines|indent(2) lines|indent(2,true) lines|indent(2,first=true) lines|indent(width=3) 'a\\n\\nb'|indent(2) 'a\\n\\nb'|indent(2,blank=true) 'a\\nb'|indent('> ') s|indent(2,true)
s|center(20) s|center(15)~'|' s|wordwrap(5) 'a b c d e f'|wordwrap(4) s|string n|string n|int '12'|int 'x'|int 'x'|int(7) '0x1f'|int(0,16) '3.7'|int f|int f|float '2'|float 'x'|float 'x'|float(1.5) n|float f|round 2.567|round(2) 2.5|round 3.5|round 2.567|round(1,'floor') 2.567|round(1,'ceil') 7|round neg|abs (-2.5)|abs
html|escape html|e html|safe html|forceescape html|striptags 'x'|string|length l|unique|list [1,1,2]|unique|list ['a','A']|unique|list ['a','A']|unique(true)|list
rows|map(attribute='name')|list rows|map(attribute='missing',default='?')|list ls|map('upper')|list ls|map('replace','a','z')|list l|select('odd')|list l|reject('odd')|list l|select|list [0,1,'',none]|select|list l|select('gt',1)|list rows|selectattr('v')|list|length rows|selectattr('v','eq',1)|map(attribute='name')|list rows|rejectattr('v','equalto',1)|map(attribute='name')|list rows|selectattr('name','in',['x','z'])|map(attribute='v')|list
rows|groupby('v')|length rows|groupby('v')|map(attribute='grouper')|list rows|groupby('v')|map('first')|list rows|groupby('v')|map(attribute='list')|map('length')|list l|batch(2)|list l|batch(2,0)|list l|slice(2)|list l|slice(2,9)|list d|attr('b') s|attr('upper')|string|length>0 [1,2]|random>0 'a b'|urlencode 'a=1&b'|urlencode 2048|filesizeformat 2048|filesizeformat(true) '%s-%s'|format(1,2) '%s'|format('x') 'http://x.y'|urlize|length>0
"""
TESTS = """
s\u00a0string n\u00a0string n\u00a0number f\u00a0number yes\u00a0number n\u00a0integer yes\u00a0integer f\u00a0integer f\u00a0float n\u00a0float yes\u00a0boolean n\u00a0boolean yes\u00a0true no\u00a0false n\u00a0true
none_\u00a0none s\u00a0none none_\u00a0defined missing\u00a0defined missing\u00a0undefined none_\u00a0iterable none_\u00a0sequence none_\u00a0mapping none_\u00a0string missing\u00a0none missing\u00a0iterable missing\u00a0string n\u00a0iterable n\u00a0sequence
l\u00a0sequence l\u00a0iterable l\u00a0mapping d\u00a0mapping d\u00a0iterable d\u00a0sequence s\u00a0iterable s\u00a0sequence s\u00a0mapping (1,2)\u00a0sequence range(3)\u00a0iterable range(3)\u00a0sequence
n\u00a0odd n\u00a0even n\u00a0divisibleby(5) n\u00a0eq(5) n\u00a0equalto(5) n\u00a0ne(5) n\u00a0lt(6) n\u00a0lessthan(6) n\u00a0le(5) n\u00a0gt(4) n\u00a0greaterthan(4) n\u00a0ge(6) n\u00a0in([5]) n\u00a0sameas(5) none_\u00a0sameas(none) s\u00a0upper s\u00a0lower 'ABC'\u00a0upper 'abc'\u00a0lower
range\u00a0callable s\u00a0callable s.upper\u00a0callable namespace\u00a0callable raise_exception\u00a0callable 'upper'\u00a0filter 'nope'\u00a0filter 'odd'\u00a0test 'nope'\u00a0test html\u00a0escaped n\u00a0==(5) n\u00a0>(4)
"""
EXPRESSIONS = """
n+1 n-1 n*2 n/2 n//2 n%3 n**2 neg//2 neg%3 neg/2 2**-1 7//2.0 1/3 10/5 1e3 1.0 100000000000000000000 0.1+0.2 1_000 -n +n 5.0//2 2**0.5 1e16 1e-5 123456789.0
s~n s~none_ s~l s~yes s~f 'a' 'b' s+'x' l+[4] [1]*3 'ab'*2 (1,2)+(3,)
n>3 n==5.0 1<n<10 1<n<3 n!=5 not\u00a0yes yes\u00a0and\u00a0no yes\u00a0or\u00a0no none_\u00a0or\u00a0'x' e\u00a0or\u00a0'x' s\u00a0and\u00a0n 'l'\u00a0in\u00a0s 'z'\u00a0not\u00a0in\u00a0s 3\u00a0in\u00a0l 'a'\u00a0in\u00a0d 'x'\u00a0if\u00a0no 'x'\u00a0if\u00a0no\u00a0else\u00a0'y' 'a'<'b' [1,2]==[1,2] {'a':1}=={'a':1} none_==none yes==1 'a'=='A'
s[0] s[-1] s[1:4] s[:-1] s[::2] s[::-1] s[3:] l[0] l[-1] l[1:] l[::-1] l[5:] uni[2] uni[-2:] d['a'] d.a d['nested']['x'] d.nested.x[1] d.missing d['missing'] missing l.0 rows[0].name rows[-1]['v'] (1,2)[0] 'abc'[5:]
l d rows (1,'a') (1,) [] {} () none_ yes no f n missing [none,true,1.5,'it\\'s'] {'k':'v'} ['a"b'] ["it's \\"x\\""] ['\\n'] {1:2} [[1],[2]] [1.0,2e20] {'a':[1,{'b':none}]} [uni] ('x',)
l|string d|string [l]|join l~'' '%s'|format(d) '%s'%d
d.keys()|list d.values()|list d.items()|list d.get('a') d.get('zz') d.get('zz','x') d.get('nested').get('x') d.keys()|join(',') d.values()|first|string d.copy()|length d.items()|first 'a'\u00a0in\u00a0d.keys() d.items()|length
l.count(3) l.index(1) ls.index('B') l.copy() (1,2,1).count(1) (1,2).index(2) l.count(9)
range(3)|list range(1,4)|list range(0,10,3)|list range(3,0,-1)|list range(0)|list range(3)|length dict(a=1) dict(a=1,b='x')|length dict({'a':1},b=2) dict([('a',1)]) lipsum\u00a0is\u00a0defined
[1,2,3]|first+1 (n,n+1)|sum 'a,b'.split(',')|length s.upper().lower().title() s|lower|replace('h','j')|title ls|join|upper l|map('string')|join('-') (s|length)+1 -n|abs n|string+'x' [n]|tojson
"""
JSON = """
tool|tojson tool|tojson(indent=2) tool|tojson(indent=4) d|tojson d|tojson(sort_keys=true) d|tojson(indent=2,sort_keys=true) tool|tojson(separators=(',',':')) d|tojson(separators=(', ','='),indent=1) uni|tojson uni|tojson(ensure_ascii=true) uni|tojson(ensure_ascii=false) html|tojson lines|tojson [1.5,1.0,1e20,-0.0,true,none]|tojson []|tojson {}|tojson [[],{}]|tojson(indent=2) (1,2)|tojson s|tojson n|tojson none_|tojson yes|tojson '\\u2028\\x7f\\x01'|tojson '\\ud83d\\ude00'|length>0 d|tojson(false,2) d|tojson(true) d|tojson(indent='\\t') d|tojson(indent=0) d|tojson(indent=none) rows|map('tojson')|join(' ') rows|tojson(indent=2) {'a':{}}|tojson(indent=2) {1:2,none:3,true:4}|tojson 'a/b\\\\'|tojson '\\t\\r\\b\\f'|tojson 0.1|tojson 1e16|tojson 1e-7|tojson 123456789012345680.0|tojson
"""
BLOCKS = [
    "{% if yes %}\nA\n{% endif %}\nB\n", "  {% if yes %}\n  A\n  {% endif %}\nB", "x {% if yes %} y {% endif %} z\n", "{%- if yes -%}\n A \n{%- endif -%}\n", "a\n\n{{- s -}}\n\nb", "a {{+ s +}} b",
    "{% for x in l %}\n{{ x }}\n{% endfor %}\n", "{% for x in l -%}\n  {{ x }}\n{%- endfor %}|", "{% for x in l %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for x in [] %}x{% else %}none{% endfor %}", "{% for x in l if x > 1 %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|items %}{{ k }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for a, b in [(1, 2), (3, 4)] %}{{ a + b }} {% endfor %}", "{% for (a, b) in [[1, 2]] %}{{ a }}{{ b }}{% endfor %}",
    "{% for x in l %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }} {% endfor %}", "{% for x in l %}{{ loop.previtem }}>{{ x }}>{{ loop.nextitem }} {% endfor %}", "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1,1,2] %}{{ loop.changed(x) }} {% endfor %}", "{% for x in l %}{% for y in l %}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}{% endfor %}",
    "{% for x in [[1,[2]],[3]] recursive %}{{ x if x is number }}{% if x is not number %}({{ loop(x) }}){% endif %}{% endfor %}",
    "{% set x = 1 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}", "{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "{% set ns = namespace() %}{% set ns.a = 'b' %}{{ ns.a }}{{ ns.missing is defined }}", "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = b = 1 %}", "{% set x %}a {{ s }} b{% endset %}[{{ x }}]", "{% set x | upper %}a {{ s }}{% endset %}{{ x }}", "{% if true %}{% set y = 2 %}{% endif %}{{ y }}",
    "{% macro m(a, b='x') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(a=3, b=4) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, a=2) }}", "{% macro m(x) %}{{ x }}{{ caller() }}{% endmacro %}{% call m(1) %}body{% endcall %}", "{% macro m() %}{{ caller(5) }}{% endmacro %}{% call(v) m() %}<{{ v }}>{% endcall %}", "{% macro m(a) %}{{ a is defined }}{{ a }}{% endmacro %}{{ m() }}", "{% macro f(x) -%}\n  {{ x }}\n{%- endmacro %}{{ f(1) }}{{ f(2) }}", "{% macro m(a) %}{{ m.name }}{{ m.arguments }}{% endmacro %}{{ m(1) }}", "{% set z = 9 %}{% macro m() %}{{ z }}{% endmacro %}{{ m() }}",
    "{# a comment #}x", "a{#- c -#} b", "{% raw %}{{ not }} {% code %}{% endraw %}", "{% raw -%}\n x \n{%- endraw %}|", "  {# c #}\nx", "{% with a = 1, b = a %}{{ a }}{% endwith %}{{ a is defined }}", "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }}", "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}aa{% endfilter %}",
    "{% generation %}x{{ s }}{% endgeneration %}", "a\n{% generation %}\nb\n{% endgeneration %}\nc", "{%- generation -%} x {%- endgeneration -%} y", "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}", "{% generation %}{% set q = 1 %}{% endgeneration %}{{ q is defined }}", "{% set o = 3 %}{% generation %}{{ o }}{% endgeneration %}", "  {% generation %}  x  {% endgeneration %}  ", "{{ '{% generation %}' }}", "{# {% generation %} #}x", "{% raw %}{% generation %}{% endraw %}",
    "{{ strftime_now('%Y-%m-%d') }}", "{{ strftime_now('%d %b %Y') }}", "{{ strftime_now('%A, %B %d, %Y %H:%M:%S') }}", "{{ strftime_now('%a %j %U %w %y %m %I %p %M %S %%') }}", "{{ strftime_now('%-d/%-m %e') }}", "{{ strftime_now('%x %X %c') }}", "{{ strftime_now('%F %T %D %R') }}", "{{ strftime_now('%G-W%V-%u %W %h %C %n%t') }}", "{{ strftime_now('%f|%z|%Z|') }}", "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}", "{{ strftime_now('') }}x", "{{ strftime_now('plain \u4f60') }}", "{{ strftime_now('%-I %l %k %-H %-M %-S %-y %-j') }}", "{{ strftime_now('%r %s'[:2]) }}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}", "{% set c = cycler(1, 2) %}{{ c.next() }}{{ c.reset() }}{{ c.next() }}", "{% set j = joiner(', ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "{% set j = joiner() %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}",
    "a\r\nb\r\n", "{% if yes %}\r\nA\r\n{% endif %}\r\nB\r\n", "a\rb", "a\n\n", "a\r\n\r\n", "{{ 'x\r\ny' }}", "{{ 'x\\r\\ny' }}", "x\n{#- c #}\n  {%- if yes %} y {%- endif %}\n", "\n{% if yes %}\n\nA\n\n{% endif %}\n\n", "\t{% if yes %}\t\nA{% endif %}", "{%+ if yes %}A{% endif %}", "  {%+ if yes %}A{% endif %}", "{% if yes +%}\nA{% endif %}", "{{ s }}\n{{ s }}\n", "a  \n  {%- if yes %}b{% endif -%}  \n c", "{% if yes %}A{% endif %}   \nB", "{% if no %}a{% elif n == 5 %}b{% else %}c{% endif %}",
    "{{ messages[0]['content'] }}{{ messages[-1].role }}", "{{ messages|length }}{{ messages[1:]|length }}", "{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|join('|') }}", "{{ messages[::-1]|map(attribute='role')|list }}", "{% for m in messages[1:] %}{{ m['role'] }}{% endfor %}", "{% set loop_messages = messages[1:] %}{{ loop_messages[0].content|trim }}", "{{ messages[2].content.split('</think>')[-1].lstrip('\\n') }}", "{{ messages[2].content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') }}", "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 1) %}bad{% endif %}{% endfor %}ok", "{% if '</think>' in messages[2].content %}yes{% endif %}", "{{ messages[0].get('name', 'none') }}{{ messages[0].get('content') }}", "{% if messages[0].tool_calls is defined %}x{% endif %}{% if messages[0].tool_calls %}y{% endif %}{% if not messages[0]['tool_calls'] %}z{% endif %}", "{{ messages[0] is mapping }}{{ messages is iterable }}{{ messages[0].content is string }}{{ messages[0].content is iterable and messages[0].content is not string }}", "{{ messages[0] }}", "{{ messages|map('length')|list }}", "{{ messages|tojson }}", "{{ (messages|last).content }}", "{{ messages|map(attribute='role')|unique|list }}", "{{ bos_token }}{{ eos_token }}{{ bos_token + 'x' }}", "{{ add_generation_prompt }}", "{{ tools }}{{ documents }}{{ tools is none }}{{ tools is defined }}", "{{ xml_tools is defined and xml_tools }}", "{{ enable_thinking is defined and enable_thinking is false }}",
]
ERRORS = [
    "{{ raise_exception('no') }}", "{{ missing.attr }}", "{{ missing['x']['y'] }}", "{{ n.foo.bar }}", "{{ nope() }}", "{{ s|nope }}", "{{ s is nope }}", "{% nope %}", "{% if %}", "{{ s.nope() }}", "{{ s.index('zz') }}", "{{ l.index(9) }}", "{{ 1 + 'a' }}", "{{ 'a' + 1 }}", "{{ 1 / 0 }}", "{{ none_ + 1 }}", "{{ missing + 1 }}", "{{ l.append(1) }}", "{{ d.update({}) }}", "{{ d.pop('a') }}", "{{ l.sort() }}", "{% do l.append(1) %}", "{{ range(1000000)|list }}", "{% set d.x = 1 %}", "{% break %}", "{{ 'a' < 1 }}", "{{ s[0][5] + 'x' }}", "{{ cycler() }}", "{{ namespace().x.y }}", "{{ ''.zfill() }}", "{{ s|truncate(2) }}", "{{ [1]|batch(0)|list }}", "{{ s.partition('') }}", "{{ '%d' % 'x' }}", "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{{ debug() }}", "{{ l|map('nope')|list }}", "{{ missing() }}", "{{ none_() }}", "{{ none_.x.y }}", "{{ strftime_now() }}", "{{ ls|sum }}", "{{ d|tojson(nope=1) }}", "{{ range|tojson }}", "{{ missing|tojson }}", "{{ s.center() }}",
]


def words(block: str) -> list[str]:
    return [word for line in block.strip().split("\n") for word in split_line(line)]


def split_line(line: str) -> list[str]:
    """Cut at spaces outside of strings and brackets that are followed by the start of another expression."""
    parts, current, quote, depth = [], "", None, 0
    i = 0
    while i < len(line):
        c = line[i]
        if quote:
            if c == "\\":
                current += line[i : i + 2]
                i += 2
                continue
            quote = None if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == " " and depth == 0 and not line[i + 1 :].startswith("% ") and not current.endswith("%"):
            if current:
                parts.append(current)
            current = ""
            i += 1
            continue
        current += c
        i += 1
    return parts + [current] if current else parts


def tracker():
    class Tracker(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_support"), [], [], body).set_lineno(line)

        def _support(self, caller):
            return caller()

    return Tracker


def environment() -> jinja2.Environment:
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[tracker(), jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: NOW.strftime(format)
    return env


def render(env, source, values, **more):
    try:
        return env.from_string(source).render(
            **{"messages": MESSAGES, "tools": None, "documents": None, "add_generation_prompt": True, "bos_token": "<s>",
               "eos_token": "</s>", **values, **more}
        )
    except Exception:
        return None


def main() -> None:
    env = environment()
    plain = [word.replace("\u00a0", " ") for block in (STRINGS, FILTERS, EXPRESSIONS, JSON) for word in words(block)]
    tests = [word.split("\u00a0", 1) for word in words(TESTS)]
    sources = ["{{ " + expression + " }}" for expression in plain]
    sources += ["{{ " + value + " is " + test + " }}" for value, test in tests] + ["{{ " + tests[0][0] + " is not " + tests[0][1] + " }}"]
    sources += BLOCKS + ERRORS
    sources = list(dict.fromkeys(sources))
    snippets = [[source, render(env, source, CONTEXT)] for source in sources]
    failing = [source for source, output in snippets if output is None and source not in ERRORS]
    print(len(snippets), "snippets,", len(failing), "refused by Jinja2:", *failing[:60], sep="\n")
    whole = []
    folder = pathlib.Path(__file__).parent / "templates"
    for path in sorted(folder.glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        for name, values in CONVERSATIONS.items():
            whole.append([path.stem, name, render(env, source, {}, **values)])
    write(
        DATA / "tokenizer" / "templates.golden.json",
        {"now": NOW.isoformat(), "context": CONTEXT, "messages": MESSAGES, "snippets": snippets, "conversations": CONVERSATIONS,
         "sources": {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jinja"))}, "whole": whole},
    )


USER = {"role": "user", "content": "What is an anchor?"}
ANSWER = {"role": "assistant", "content": "A hook of iron."}
THOUGHT = {"role": "assistant", "content": "<think>\nShort, then.\n</think>\n\nA hook."}
SYSTEM = {"role": "system", "content": "You are terse. /no_think"}
CONVERSATIONS = {
    "one turn": {"messages": [USER]},
    "one turn, not opened": {"messages": [USER], "add_generation_prompt": False},
    "system": {"messages": [SYSTEM, USER]},
    "two turns": {"messages": [USER, ANSWER, {"role": "user", "content": "  And \"a rope\"?\n\n"}]},
    "system and two turns": {"messages": [SYSTEM, USER, ANSWER, {"role": "user", "content": "Gr\u00fc\u00dfe <b>!"}]},
    "thought": {"messages": [USER, THOUGHT, USER]},
    "no thinking": {"messages": [SYSTEM, USER], "enable_thinking": False},
    "thinking": {"messages": [USER], "enable_thinking": True},
    "tools": {"messages": [SYSTEM, USER], "tools": [CONTEXT["tool"]]},
    "answered": {"messages": [USER, ANSWER], "add_generation_prompt": False},
    "out of order": {"messages": [ANSWER, USER]},
}

if __name__ == "__main__":
    main()
