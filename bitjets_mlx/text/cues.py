"""Neighbours that settle a homograph by themselves.

Each row: the phonemes, then the words or phrases of which one must stand right `before`, right `after`, or anywhere
`near` in the sentence; phrases have "_" for spaces, "." in `after` means the end of the clause, and what is left out
matches everything. The first row that matches wins.
"""

from typing import NamedTuple


class Cue(NamedTuple):
    """One row of the table."""

    phonemes: str
    before: str = ""
    after: str = ""
    near: str = ""

    def matches(self, before: str, after: str, sentence: str) -> bool:
        """Whether the row is met by the clause `before` and `after` the word and its whole `sentence`."""
        return (
            (not self.before or any(f" {before}".endswith(f" {phrase}") for phrase in _phrases(self.before)))
            and (not self.after or any(f"{after or '.'} ".startswith(f"{phrase} ") for phrase in _phrases(self.after)))
            and (not self.near or any(f" {phrase} " in f" {sentence} " for phrase in _phrases(self.near)))
        )


def _phrases(text: str) -> list[str]:
    return [phrase.replace("_", " ") for phrase in text.split()]


_VERB = """
    to will would can could shall should may might must don't didn't doesn't did do does cannot can't won't let's i
    we they you i'll you'll he'll she'll we'll they'll please not
"""
_HE = "he she it who which that"
_METALS = """
    copper zinc tin iron silver mercury metal metals arsenic antimony cadmium bullet bullets nickel steel asbestos
    gold uranium
"""
_LEADEN = "unleaded gas gasoline fuel paint pipes plumbing toys water blood toxic poisoned"
_CLOTH = """
    fabric cloth ligament muscle muscles paper sail pants shirt jeans dress rotator acl meniscus cartilage canvas
    stocking stockings tights glove gloves scarf blanket sheet tarp balloon
    painting curtain hole seam sleeve knee tent page jacket coat tissue retina retinal net bag
"""
_FISH = """
    fish fishing fished fisherman caught catch lake striped largemouth smallmouth trout perch pond angler bait
    hooked freshwater
"""
_ARCHER = """
    arrow arrows violin cello fiddle ribbon ribbons hair gift archer archers archery violinist cellist fiddler
    quiver hunt hunting hunter wrapped knot string strings tie tied shoelaces
"""
_SHOWS = """
    music show shows broadcast broadcasts stream streams streaming audience audiences concert concerts performance
    performances recording recordings album albums event events band bands wire wires ammunition ammo round rounds
    bait animal animals birds chat coverage feed feeds footage television tv radio action studio demo demos
    demonstration entertainment oak oaks video data update updates birth births coals specimens cattle stock load
    mic session sports version theater theatre report reports blog reporting trees plants cells vaccine virus target
    targets poultry lobster lobsters crab crabs chickens pigs sheep crickets mice snakes insects worms prey bees turkeys
"""
_TINY = """
    detail details particle particles amount amounts quantity quantities difference differences trace traces
    inspection examination attention scrutiny fraction fractions creature creatures organism organisms change
    changes bodies portion portions scale size object objects variation variations observation observations
    description descriptions speck specks structure structures cell cells hole holes droplets crystals grains
    crack cracks scratch scratches spot spots insect insects animal animals creature seed seeds bubble bubbles pore
    pores piece pieces part parts proportion risk error errors flaw flaws shells eggs larvae worms print script
    account record openings grooves needles fibers increments adjustments shifts sum sums sample samples
    fragment fragments plants insects study points things search dose doses
"""
_LEAD_GOODS = """
    pipe pipes paint paints poisoning bullet bullets roof roofs roofing acid weight weights shot pencil pencils foil
    ore mine mines mining miners oxide glass crystal apron sheet sheets sheeting solder coffin coffins content
    exposure levels lined free based core ball balls slug slugs fragment fragments alloy alloys plate plates battery
    batteries smelter dust chips sinkers contamination residue residues
"""
_DOWN = """
    into in off under underneath down deep deeper headfirst headlong right straight below through over after from
    for back beneath to toward towards out
"""

CUES: dict[str, tuple[Cue, ...]] = {
    "lead": (
        Cue("L EH1 D", after=_LEAD_GOODS),
        Cue("L EH1 D", before="added add adding mined melted melt poisoned_by"),
        Cue("L IY1 D", before=_VERB),
        Cue(
            "L IY1 D", after="role singer guitar guitarist actor actress author time counsel story vocals to in_the by"
        ),
        Cue(
            "L EH1 D",
            before="""
                pencil of molten melted red white black sheet solid pure soft heavy containing contain contains
                contained
            """,
        ),
        Cue("L EH1 D", after="and or in is are . than was into melts has", near=_METALS),
        Cue("L EH1 D", after="out", near="get_the"),
        Cue(
            "L EH1 D",
            after=".",
            near="roof roofs pipes bullet bullets melted molten ore smelter solder poisoned plumbing",
        ),
        Cue("L EH1 D", before="covered_with lined_with filled_with coated_with made_from sealed_with weighted_with"),
        Cue(
            "L EH1 D", after="in_it in_them in_the_water in_gasoline in_the_blood in_their_blood in_paint", near=_LEADEN
        ),
        Cue("L EH1 D", after="melts is_a_heavy is_heavy is_toxic is_a_toxic is_a_metal is_a_soft is_a_dense"),
        Cue("L IY1 D"),
    ),
    "live": (
        Cue("L IH1 V", before=_VERB + " people who must where_i long"),
        Cue("L AY1 V", after=_SHOWS),
        Cue(
            "L AY1 V",
            before="""
            plays sings performs appears broadcasts streams go goes going went gone broadcast aired airs performed
            perform performing streamed streaming shown
            recorded seen watch_it heard singing playing played sang televised is are was were be it's we're you're
            them
            """,
        ),
        Cue(
            "L AY1 V",
            after="from_the from_new from_london from_our from_los on_tv on_television on_air on_stage on_radio",
        ),
        Cue("L AY1 V", after="on_camera on_youtube on_the_air in_concert via"),
    ),
    "winds": (
        Cue(
            "W AY1 N D Z",
            before=_HE + " road river path trail stream street staircase stairway route valley line track creek lane",
            after="up down through around round along its past between over across into toward towards back from the",
        ),
        Cue("W IH1 N D Z"),
    ),
    "wound": (
        Cue("W AW1 N D", before="river road path trail stream track procession column queue train highway staircase"),
        Cue("W AW1 N D", after="up around round itself tightly"),
        Cue("W AW1 N D", after="down_the through_the its_way their_way his_way her_way"),
        Cue(
            "W AW1 N D",
            after="the_clock the_watch the_string the_thread the_bandage the_rope the_yarn the_wire the_tape",
        ),
        Cue("W AW1 N D", after="the_scarf the_film the_spring the_toy the_cord the_bobbin"),
        Cue(
            "W AW1 N D",
            before="was were is are be been",
            near="clock watch spring toy rope string thread cable wool bobbin",
        ),
        Cue(
            "W AW1 N D",
            before="tightly was were had been is are he she it they i we be",
            after="up around round tight tightly in on onto into with back down through the a his her it like .",
        ),
        Cue("W UW1 N D"),
    ),
    "tear": (
        Cue(
            "T IH1 R",
            after="gas drop drops duct ducts stained jerker rolled fell ran trickled slid dropped streamed came",
        ),
        Cue(
            "T IH1 R",
            after="from_his from_her from_my in_his_eye in_her_eye in_my_eye in_his_eyes in_her_eyes in_my_eyes",
        ),
        Cue(
            "T IH1 R",
            after="down_his_cheek down_her_cheek down_my_cheek down_his_face down_her_face to_my_eye to_her_eye",
        ),
        Cue(
            "T IH1 R",
            before="""
                shed_a sheds_a shed_no shedding_a wiped_a wiped_away_a wipe_away_a single a_single brushed_away_a
            """,
        ),
        Cue("T EH1 R", before=_VERB + " wear_and wear_or and"),
        Cue(
            "T EH1 R",
            after="up apart off out open away into through it them along the a at your his her their my our that"
            " this down",
        ),
        Cue("T EH1 R", near=_CLOTH),
        Cue("T IH1 R"),
    ),
    "tears": (
        Cue("T EH1 R Z", before=_HE),
        Cue(
            "T EH1 R Z",
            after="apart up off out open it them the a at_the at_his at_her in_the_fabric in_the_muscle in_the_sail",
        ),
        Cue("T EH1 R Z", before="muscle ligament cuff meniscus retinal"),
        Cue("T IH1 R Z"),
    ),
    "bow": (
        Cue(
            "B OW1",
            after="and_arrow and_arrows tie ties string strings hunting hunter hunters legged window windows saw",
        ),
        Cue(
            "B AW1",
            before="""
                take_a took_a takes_a taking_a make_a made_a take_his took_his took_her took_their final deep low
            """,
        ),
        Cue("B AW1", before=_VERB + " and_then"),
        Cue("B AW1", after="of_the of_a of_his of_our down before to and_stern low out"),
        Cue(
            "B OW1",
            before="""
                long cross red pink silk satin blue yellow hunting cello violin drew_his drew_the drew_her
                strung_his
            """,
        ),
        Cue("B OW1", before="carried_a carries_a carry_a fired_a shot_a drew_a held_a wore_a tie_a tied_a ties_a"),
        Cue("B OW1", near=_ARCHER),
        Cue(
            "B OW1",
            before="like_a big little large pretty velvet white black floppy",
            after=". on in tied at around and",
        ),
        Cue("B AW1"),
    ),
    "bows": (
        Cue("B OW1 Z", after="and_arrows in_her_hair in_their_hair"),
        Cue("B AW1 Z", before=_HE),
        Cue("B OW1 Z", near=_ARCHER),
        Cue("B AW1 Z"),
    ),
    "refuse": (
        Cue("R EH1 F Y UW2 Z", after="collector collectors collection bin bins disposal truck trucks heap heaps dump"),
    ),
    "row": (
        Cue(
            "R AW1",
            before="a the terrible blazing big",
            after="among broke erupted with_his_wife with_her_husband about over_the_money",
        ),
        Cue("R OW1"),
    ),
    "bass": (
        Cue(
            "B EY1 S",
            after="""
                guitar guitars drum drums player players clef line lines note notes solo voice clarinet singer boost
            """,
        ),
        Cue(
            "B EY1 S",
            before="double upright electric acoustic drum_and play plays played playing deep heavy loud of_the",
        ),
        Cue("B AE1 S", before="sea striped largemouth smallmouth white rock black grilled fried"),
        Cue("B AE1 S", after="boat boats fishing fillet fillets lure"),
        Cue("B AE1 S", after="lures fisherman fishermen swam swims swimming"),
        Cue("B AE1 S", near=_FISH),
        Cue("B EY1 S"),
    ),
    "dove": (
        Cue("D AH1 V", before="a an the white mourning turtle gray grey this that of peace"),
        Cue("D OW1 V", after=_DOWN),
        Cue("D OW1 V", before="he she it they i we you and who then diver divers team plane submarine"),
        Cue("D AH1 V"),
    ),
    "minute": (Cue("M AY0 N UW1 T", after=_TINY),),
    "close": (Cue("K L OW1 S", after="at_hand"),),
    "does": (
        Cue(
            "D OW1 Z",
            before="the two three four several many bucks_and stags_and",
            after="are were have and graze grazed ran",
        ),
    ),
    "learned": (
        Cue(
            "L ER1 N AH0 D",
            before="a an the very most my his her their our more less many these those so",
            after="""
            man men friend friends judge judges counsel gentleman gentlemen professor scholar scholars society
            societies profession professions doctor doctors colleague woman lady brother person people treatise work
            works discourse author writer language languages papers divine divines and are
            """,
        ),
    ),
    "blessed": (
        Cue(
            "B L EH1 S AH0 D",
            after="""
            virgin lord mary sacrament are is be trinity mother day thing relief saint isle hope event memory peace
            assurance savior art one man land state
            """,
        ),
    ),
    "aged": (
        Cue(
            "EY1 JH AH0 D",
            before="the an his her my their our this and of",
            after="""
            man woman men women parent parents mother father lady gentleman king couple people person persons
            relative relatives poor pauper sister brother servant priest prisoner body face hands and but are were
            is in population .
            """,
        ),
    ),
    "axes": (
        Cue(
            "AE1 K S IY2 Z", before="x y z coordinate vertical horizontal principal optical crystal perpendicular major"
        ),
        Cue("AE1 K S IY2 Z", near="x y graph coordinate rotation plot symmetry vertical horizontal ellipse chart"),
    ),
    "bases": (Cue("B EY1 S IY2 Z", after="of for"), Cue("B EY1 S IH0 Z")),
    "moped": (Cue("M OW1 P EH0 D", before="a the his her my your their electric this on"), Cue("M OW1 P T")),
    "number": (Cue("N AH1 M ER0", before="grew felt feel feels became ever even", after="and than with still"),),
    "wicked": (Cue("W IH1 K AH0 D"),),
    "object": (
        Cue(
            "AH0 B JH EH1 K T",
            before="people not parents neighbors residents lawyers members strongly",
            after="to that",
        ),
    ),
    "subject": (Cue("S AH1 B JH IH0 K T", after="to"),),
    "present": (Cue("P R EH1 Z AH0 N T", before="be were was is are been being not those all at until up_to_the"),),
    "perfect": (Cue("P ER1 F IH2 K T", before="makes make made"),),
    "putting": (Cue("P AH1 T IH0 NG", after="green greens"), Cue("P UH1 T IH0 NG")),
    "sewer": (Cue("S OW1 ER0", before="seamstress_and_a tailor_and_a tailor_or_a"),),
    "lima": (Cue("L AY1 M AH0", after="bean beans ohio"),),
    "record": (
        Cue(
            "R IH0 K AO1 R D",
            before="band group orchestra choir quartet duo",
            after="their its a an the music songs at in",
        ),
    ),
    "produce": (
        Cue("P R OW1 D UW0 S", before="garden farm dairy fresh organic local agricultural seasonal homegrown"),
    ),
    "separate": (
        Cue("S EH1 P ER0 IH0 T", after=".", near="keep keeps kept keeping stay stayed remain remained"),
        Cue("S EH1 P ER0 EY2 T", after="quickly easily slowly naturally completely cleanly amicably at_once"),
    ),
    "content": (Cue("K AH0 N T EH1 N T", after="life smile sigh baby expression silence purr"),),
}
