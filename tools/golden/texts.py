"""The texts the SmolLM2 goldens are computed on. Written for this project; the short goldens use their first tokens.

`numbers` is full of dots that end no sentence, `no_stop` has no full stop at all, `prose` has several paragraphs.
"""

NUMBERS = """\
Pi is about 3.14, e is about 2.718, and version 1.2.3 of the tool runs on 192.168.0.1 in the U.S. office. \
Dr. Bell paid $4.50 at 9.30 a.m., i.e. 12.5% more than the 4.00 he paid in No. 7. \
The probe weighs 1,204.75 kg, is 3.05 m long and drew 0.8 A at 28.0 V. Its log reads: t=0.000 ok; t=0.125 ok; t=0.250 fault.

Table 2.1 lists the tides of St. Anne: 0.42 m at 03.17, 4.86 m at 09.41, 0.55 m at 15.52 and 4.71 m at 22.08. \
The mean of the highs is 4.785 m. The mean of the lows is 0.485 m. Sec. 4.2.1 explains why the gauge at 10.0.0.12:8080 was 0.03 m too low.

Mr. Vane, Mrs. Ode and Prof. K. L. Marsh measured 17.2, 17.4 and 17.9 degrees. Was it 17.5 on average? Yes, 17.5 exactly. \
They used build 5.10.0-rc.2 from ftp.example.org/pub/v5.10/, whose checksum begins 9f.3a.77. Rev. B costs 1.99 EUR, rev. C costs 2.49 EUR, vs. 3.10 EUR for rev. D.

Step 1. Set x = 0.5. Step 2. Compute y = x * x - 1.25 = -1.0. Step 3. If y < 0.0 then halve x, else stop. \
After 10 rounds x is 0.0004882812. After 20 rounds it is 4.76837e-07. Nothing changes after 1.0e+03 rounds.

On 4.7.2019 the S.S. Orla left at 6.15 p.m. with 48.25 t of salt, 7.5 t of rope and 1.125 t of tea. \
She sailed 212.6 km at 11.8 knots, i.e. 6.07 m/s, and met a swell of 2.5 to 3.5 m off Pt. Grey. \
Her cook, J. R. Finn, wrote: "Ate 1.5 loaves. Slept 4.25 h. All is well." The U.K. agent, A.B. & Co. Ltd., paid 0.75% of 18,400.60, that is 138.00.
"""

NO_STOP = """\
when the lamps were lit along the harbour and the boats came in one after another, low in the water and slow, the children ran down \
the steps to count them, calling out the names they knew, and the old woman by the net racks, who had counted boats for sixty years and \
would count them still if the sea dried up, moved her lips without a sound, because to say a number aloud before the last boat was in \
was to ask for trouble, and there had been trouble enough that winter, with the ice on the ropes and the fever in the upper town and \
the long week when no one could leave the bay at all

what did they bring home? herring mostly, and some days cod, and once, in a net that three men could not lift, a bell green with age, \
cracked from lip to crown, with letters round the rim that the schoolmaster copied into his book and never managed to read, though he \
wrote to two libraries and a bishop, and though he sat with the paper under the lamp until his wife took the lamp away

so the bell stood in the square, and the wind found the crack in it and made a note there, a thin note like a question, and people said \
they could tell the weather by it, high for frost, low for rain, silent for the kind of calm that comes before the worst of all; \
and the dogs would not lie near it, and the gulls would, and a boy called Tam who swept the market every evening used to put his ear \
against the metal and listen, and when they asked him what he heard he would only say that it was further away than yesterday!

now it happened that the same boy was in the last boat on the night of the great swell, when the light on the point went out and nobody \
could find the channel, and the skipper had his hand on the rope to cut the nets loose, and the men had begun to speak of their wives \
in the way men do when they think they will not see them, and Tam lifted his head and said that he could hear it, there, off the left \
side, the thin note, quite clear, nearer than it had ever been, and they turned the boat toward nothing at all, toward a sound that no \
one else could hear, and came in past the rocks with a hand of water to spare

since then the bell hangs from a proper beam, and it has a roof of its own, and nobody has tried to mend the crack
"""

PROSE = """\
The survey station stood where the road gave up. Beyond it there was only heather, and then stone, and then the long grey back of the \
ridge. Ines had been told to expect a hut with a stove and a radio. She found the stove. The radio was a shelf with a clean square in \
the dust.

She did what she always did first, which was to sweep. It took an hour. By the time the floor showed its boards the light had \
moved to the far wall, and the wind had begun to talk in the chimney. She wrote the date on the first page of the new log, wrote \
"Arrived, all quiet", and then, because it was her habit to be exact, crossed out "all".

The instruments were older than she was. There was a barograph with a brass drum, a row of thermometers in a white box, and a rain gauge \
that leaned like a tired man. Each had its own page in the manual. Each page had notes in the margin, in four or five different hands. \
Do not trust after frost. Tap twice. Reads high when lonely. She laughed at that one, and then read it again, and did not laugh.

For nine days nothing happened. The pressure rose a little, fell a little, and rose. She learned the path to the spring and \
the place where the hare sat in the morning. She learned that the ridge had two colours, one for rain and one for everything else. \
In the evenings she drew the day's curve on squared paper and pinned it beside the others, until the wall looked like the edge of a sea.

On the tenth day the curve went straight down. It did not slope. It dropped, as if someone had leaned on the pen, and stayed at the \
bottom of the drum, scratching the same line over and over. Ines tapped the case twice. She checked the clock, the ink and the spring. \
Outside, the air was mild and the hare was in its place. There was no storm in any part of the sky.

She could have written "fault". Most people would have. Instead she put on her coat and climbed to the ridge, which she had been \
saving for a better reason, and looked over to the other side. The valley there was full of cloud, white and level as milk in a bowl. \
It was very beautiful. It was also, slowly and without any sound, coming up.

"So you read low when you are frightened," she said to the instrument when she was back at the table. She fed the stove, filled every \
bucket, and tied the door. Then she took a fresh page. She wrote the time and the reading, and what she had seen, and how far it had \
still to come. At the end she added a line in the margin for whoever would sweep the floor next. Trust it, she wrote. It knows before we do.

The cloud reached the hut at dusk. It pressed against the window, and the room became the only room there was. Ines sat with her back \
to the warm bricks and listened. The pen scratched. The kettle ticked as it cooled. Somewhere below her, on the road that gave up, a lamp \
was moving from side to side, and a voice was calling out numbers, patiently, one by one, like someone counting boats.
"""
