"""Windows of text to learn from: consecutive sentences of a document, into most of them facts that are asked for later.

A plain text seldom needs what stood a thousand tokens ago, and then a word or two. So sentences that state a made-up
fact are put between those of the document, and 3 to 60 sentences later one that needs it. The facts that are measured
(`FACTS_HELD_OUT`, and those of `killick eval recall`) have other forms and other words than those that are trained on.
"""

import dataclasses
import json
import random
import re

import numpy
from tokenizers import Tokenizer

from corpus import ADAPT

REGISTERS = {"sotu": 3, "moby-dick": 1, "austen": 3, "rust": 2, "devotional": 3}
WITH_FACTS = 0.6

PEOPLE = """neighbour uncle aunt cousin teacher brother sister baker gardener pilot nurse tailor lawyer guide mayor singer sailor clerk
manager librarian coach dentist engineer farmer fisherman grocer housekeeper hunter innkeeper interpreter janitor mechanic miller
musician officer plumber postman professor ranger secretary servant shepherd soldier student surgeon treasurer waiter weaver""".split()
NAMES = """Maria Oscar Nina Victor Sofia Hugo Julia Felix Irene Leon Paula Marcus Vera Adrian Elena Bruno Carmen Dario Eva Frank Gloria
Ivan Karen Louis Monica Nathan Olivia Patrick Rachel Stephen Teresa Vincent Wendy Alan Barbara Cecil Diana Eric Fiona Gordon Hannah
Isaac Judith Kevin Linda Miles Nora Owen Philip Rebecca Sarah Theodore Ursula Wilfred Zoe""".split()
CITIES = """London Paris Rome Berlin Madrid Vienna Dublin Lisbon Athens Moscow Cairo Tokyo Delhi Boston Chicago Denver Dallas Seattle
Toronto Sydney Geneva Venice Munich Prague Oslo Warsaw Istanbul Jerusalem Baghdad Philadelphia""".split()
COLOURS = "red blue green yellow black white brown grey purple orange pink silver golden".split()
THINGS = """door cupboard bicycle lamp wagon chair table piano clock umbrella suitcase coat hat kettle bottle basket ladder curtain mirror
carpet sofa fence drawer notebook bucket sledge tent statue fountain tower bench barrel""".split()
PLACES = """kitchen garden cellar attic library barn stable garage chapel harbour market museum office station theatre tavern workshop
courtyard bakery hospital forest orchard tower hall laundry""".split()
FOODS = """bread cheese rice soup fish honey apples grapes olives onions beans eggs butter chocolate coffee tea milk wine pepper ginger
almonds peaches lemons carrots mushrooms pancakes""".split()
TRADES = """carpenter painter doctor poet merchant blacksmith banker chemist printer butcher priest judge miner dancer writer
architect farmer jeweller barber tailor""".split()
# (statement up to its last word, question) and the words for the last one.
FORMS = [
    ("My {person} has the name {}", "What is the name of my {person}? The name of my {person} is {}", NAMES),
    ("The man whom they met in the {place} was {}", "Whom did they meet in the {place}? In the {place} they met {}", NAMES),
    ("{name} was born in {}", "Where was {name} born? {name} was born in {}", CITIES),
    ("The {person} moved last year to {}", "Where does the {person} live now? The {person} lives in {}", CITIES),
    ("The {thing} in the {place} is painted {}", "What colour is the {thing} in the {place}? It is {}", COLOURS),
    ("For her birthday {name} got a {thing} that was {}", "What colour was the {thing} that {name} got? It was {}", COLOURS),
    ("The {person} hid the letter in the {}", "Where is the letter of the {person}? The {person} hid it in the {}", PLACES),
    ("The lost {thing} was found in the {}", "Where was the lost {thing}? They found the {thing} in the {}", PLACES),
    ("What {name} likes most to eat is {}", "What does {name} like? Most of all {name} likes {}", FOODS),
    ("The {person} sells nothing but {}", "What can one buy from the {person}? The {person} sells {}", FOODS),
    ("{name} works as a {}", "What is the work of {name}? {name} is a {}", TRADES),
    ("The {thing} costs {} dollars", "How much is the {thing}? The price of the {thing} in dollars is {}", None),
    ("The {person} is {} years old", "How old is the {person}? In years, the {person} has the age of {}", None),
    ("The code for the {thing} is {}", "Remember, the code for the {thing} is {}", None),
]
FACTS_HELD_OUT = [
    ("The favourite animal of {name} is the {}", "The favourite animal of {name} is the", "horse cat dog lion tiger bear wolf fox eagle snake goat mouse".split()),
    ("The {person} comes from {}", "The {person} comes from", "Spain Italy Greece Poland Norway Egypt India China Japan Brazil Canada Turkey".split()),
]
NAMES_HELD_OUT = "Anton Bella Conrad Dora Emil Flora Gustav Hilda Igor Johanna Karl Lydia".split()


@dataclasses.dataclass
class Window:
    """`ids` [length + 1]; `answer` marks the targets ids[1:] that complete a question."""

    ids: numpy.ndarray
    answer: numpy.ndarray


def split(text: str) -> list[str]:
    """Sentences with the white space before them."""
    return [part for part in re.split(r"(?<=[.?!])(?=\s)|(?<=[.?!][\"')])(?=\s)|(?=\n)", text) if part]


class Text:
    """Windows by number: the same number gives the same window, whatever came before."""

    def __init__(self, tokens: Tokenizer, length: int, own: list[str] | None = None, with_facts: float = WITH_FACTS):
        """`own` are documents of the user's, in place of those of corpus.py."""
        self.tokens, self.length, self.with_facts = tokens, length, with_facts
        self.registers = {"own": 1} if own else REGISTERS
        self.documents: dict[str, list[str]] = {register: [] for register in self.registers}
        for name, text in [("own", text) for text in own] if own else json.loads((ADAPT / "train.json").read_text()):
            self.documents[name.split(" ")[0]].append(text)

    def window(self, number: int) -> Window:
        dice = random.Random(f"killick {number}")
        register = dice.choices(list(self.registers), list(self.registers.values()))[0]
        documents = self.documents[register]
        at = dice.choices(range(len(documents)), [len(text) for text in documents])[0]
        sentences = split(documents[at])
        # A random sentence, and what follows in this document and the next ones.
        sentences = sentences[dice.randrange(max(1, len(sentences) - 20)):]
        while sum(map(len, sentences)) < 6 * self.length:
            at = (at + 1) % len(documents)
            sentences += split("\n\n" + documents[at])
        answers = self.put_facts(sentences, dice) if dice.random() < self.with_facts else []
        return self.encode(sentences, answers)

    def put_facts(self, sentences: list[str], dice: random.Random) -> list[int]:
        """Inserts facts and questions among the sentences, in place; the indices of the questions."""
        count, most = 0, 0
        for most, sentence in enumerate(sentences):
            count += len(sentence)
            # A token has more than four bytes of most texts; the facts take some of the room.
            if count > 3.4 * self.length:
                break
        added: list[tuple[int, str, bool]] = []
        used = set()
        for _ in range(dice.randint(10, 18)):
            statement, question, words = dice.choice(FORMS)
            slots = {"person": dice.choice(PEOPLE), "place": dice.choice(PLACES), "thing": dice.choice(THINGS), "name": dice.choice(NAMES)}
            statement, question = (text.replace("{}", "<>").format(**slots) for text in (statement, question))
            if statement in used:
                continue
            used.add(statement)
            word = dice.choice(words) if words else str(dice.randint(2, 99))
            # Half of the questions repeat the statement itself.
            asked = question if dice.random() < 0.5 else statement
            # Some sentences back, near distances as often as far ones.
            farthest = min(60, most - 2)
            back = round(3 * (farthest / 3) ** dice.random())
            stated = dice.randint(1, most - back)
            added.append((stated, " " + statement.replace("<>", word) + ".", False))
            added.append((stated + back, " " + asked.replace("<>", f"<{word}>") + ".", True))
        answers = []
        for place, sentence, is_question in sorted(added, key=lambda entry: entry[0], reverse=True):
            sentences.insert(place, sentence)
            answers = [other + 1 for other in answers] + ([place] if is_question else [])
        return answers

    def encode(self, sentences: list[str], answers: list[int]) -> Window:
        text, spans = "", []
        asked = set(answers)
        for number, sentence in enumerate(sentences):
            if number in asked:
                start = sentence.index("<")
                word = sentence[start + 1:sentence.index(">")]
                sentence = sentence.replace(f"<{word}>", word)
                spans.append((len(text) + start, len(text) + start + len(word)))
            text += sentence
            if len(text) > 7 * self.length:
                break
        found = self.tokens.encode(text.lstrip(), add_special_tokens=False)
        shift = len(text) - len(text.lstrip())
        ids = numpy.array(found.ids[:self.length + 1])
        assert len(ids) == self.length + 1, "the text is shorter than a window"
        answer = numpy.zeros(self.length, dtype=bool)
        starts = numpy.array([start for start, _ in found.offsets[1:self.length + 1]])
        ends = numpy.array([end for _, end in found.offsets[1:self.length + 1]])
        for start, end in spans:
            answer |= (ends > start - shift) & (starts < end - shift)
        return Window(ids, answer)
