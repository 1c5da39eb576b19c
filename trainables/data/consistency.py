"""Whether a data set agrees with itself: one check of all images, made whenever data are prepared.

It refuses boxes that are given in another form than the format has, and warns of what is probably a mistake.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import add

from trainables.data.evidence import BoxForm, Evidence
from trainables.data.files.drawn import ASSUMED
from trainables.data.files.pixels import FULL_BITS
from trainables.data.masks import FALLING
from trainables.data.sample import DataSource, fold_name
from trainables.errors import DataError
from trainables.specs.data import Split
from trainables.wording import few, plural

DARK = 32
"""A data set whose brightest value is below this, of 255, is probably scaled wrongly."""
SHALLOW = 8
"""The least bits of a grey value that data.bits can name."""
BLACK = 4
"""A data set whose brightest value is below this, of 255, shows nothing that can be learned."""
SOME = 0.1
"""The share of boxes that pass the border from which another form that fits all of them is suspected."""
MOST = 0.5
"""The share of boxes from which a contradiction is one of the whole file."""
FEWEST = 3
"""The boxes that a judgement needs at least, if all of them speak for it."""
ENOUGH = 10
"""The boxes that any other judgement needs at least."""
CLEAR = 10
"""How many times as many boxes must speak for one form as for the other."""


@dataclass
class Seen:
    """What the images of one split said, by their names in order."""

    names: list[str] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)

    def add(self, name: str, evidence: Evidence) -> None:
        """Note one image."""
        self.names.append(name)
        self.evidence.append(evidence)

    @property
    def form(self) -> BoxForm:
        """The counts of its boxes."""
        return reduce(add, (e.form for e in self.evidence), BoxForm())


def check_consistency(
    source: DataSource,
    seen: Mapping[Split, Seen],
    *,
    bits: int | None,
    corners: bool,
    own_classes: bool = False,
    refusals: list[str] | None = None,
) -> list[str]:
    """The warnings about a data set.

    Raises DataError if its boxes are in another form than they must be, or if its images are black.

    bits: those that deep images were read with.  corners: whether boxes must be [x0, y0, x1, y1].
    own_classes: whether the user's data name the classes, so that each should be shown somewhere.
    refusals: takes the messages of what is refused, in place of an error.
    """
    doubts = _gathered(refusals, lambda: _check_forms(source, seen, corners=corners))
    remarks = dict.fromkeys(remark for part in source.parts.values() for remark in part.remarks)
    return [
        *remarks,
        *doubts,
        *_assumed(source),
        *_palettes(source),
        *_alike(source),
        *_gathered(refusals, lambda: _dark(seen, bits)),
        *_twins(seen),
        *_untrained(source, seen, own_classes),
    ]


def _gathered(refusals: list[str] | None, check: Callable[[], list[str]]) -> list[str]:
    """The warnings of `check`, or none and its error in `refusals`."""
    try:
        return check()
    except DataError as error:
        if refusals is None:
            raise
        refusals.append(str(error))
        return []


def _check_forms(source: DataSource, seen: Mapping[Split, Seen], *, corners: bool) -> list[str]:
    """The doubts about the form of boxes. Raises DataError if it is clearly another one."""
    forms = {name: form for name, form in _by_origin(source, seen).items() if form.count}
    judge = partial(wrong_form, corners=corners, declared_by=source.declared_by)
    wrong = {name: why for name, form in forms.items() if (why := judge(form))}
    total = reduce(add, forms.values(), BoxForm())
    whole = judge(total)
    # One file may be wrong among others, or each too small to show what all of them show.
    if wrong and (len(wrong) < len(forms) or whole is None):
        raise DataError(f"{' and '.join(wrong)}: {next(iter(wrong.values()))}")
    if whole is not None:
        raise DataError(f"data: {whole}")
    found = ((name, doubtful_form(form, corners=corners)) for name, form in forms.items())
    return [f"{name}: {why}" for name, why in found if why is not None]


def _by_origin(source: DataSource, seen: Mapping[Split, Seen]) -> dict[str, BoxForm]:
    """The counts of what was given together: splits that were divided from one part are one."""
    names: dict[int, str] = {}
    forms: dict[str, BoxForm] = {}
    for split, part in seen.items():
        # Parts that were divided share what is noticed of their files.
        origin = id(source.parts[split].tally) if split in source.parts else id(part)
        name = names.setdefault(origin, str(split))
        forms[name] = forms.get(name, BoxForm()) + part.form
    return forms


def wrong_form(form: BoxForm, *, corners: bool, declared_by: str | None = None) -> str | None:
    """Why the boxes cannot be in the form that they are read in; None if they can.

    declared_by: the setting that says in which form they are.
    """
    must, other = _forms(corners)
    way_out = f"convert them to {must} in pixels" + (
        "" if corners else ", such as [x0, y0, x1 - x0, y1 - y0]"
    )
    if declared_by is not None:
        way_out = f"set {declared_by}: {'xywh' if corners else 'xyxy'}"
    if form.unit >= max(FEWEST, 0.9 * (form.count - form.vague)):
        return (
            f"boxes must be {must} in pixels, but {form.unit} of {form.count} lie within 0 to 1, as shares "
            "of the image do; multiply them by the width and height of the image"
        )
    against = form.contradicted + form.agree_otherwise
    # A few wrong ones prove something only if there is no other box.
    proven = form.told >= ENOUGH or against == form.count
    if (
        proven
        and form.agree_otherwise >= max(FEWEST - 1, MOST * form.told)
        and form.agree_otherwise > CLEAR * form.agree
    ):
        return (
            f"boxes must be {must}, but by the areas or polygons of {form.agree_otherwise} of {form.told} "
            f"they are {other}; {way_out}"
        )
    if (
        form.count >= ENOUGH
        and form.agree <= form.agree_otherwise
        and form.far >= 0.3 * form.count
        and form.fit_otherwise >= 0.95 * form.count
    ):
        return (
            f"boxes must be {must}, but {form.far} of {form.count} have no extent or pass the border so, and "
            f"as {other} {'all' if form.fit_otherwise == form.count else form.fit_otherwise} lie in their "
            f"images; {way_out}"
        )
    if _may_be_centres(form, corners) and form.far >= max(ENOUGH, MOST * form.count):
        return f"boxes must be {must}, but {_as_centres(form)} convert them, such as {FROM_CENTRE}"
    if proven and form.told >= FEWEST and against >= MOST * form.told:
        return (
            f"boxes must agree with their own areas and polygons, but {against} of {form.told} do "
            "not: they may belong to images of another size; correct them, or remove `area` and "
            "`segmentation` if only the boxes are right"
        )
    return None


def doubtful_form(form: BoxForm, *, corners: bool) -> str | None:
    """What makes the form of boxes suspect without proving another one."""
    if not _may_be_centres(form, corners) or form.count - form.fit < max(FEWEST, SOME * form.count):
        return None
    return f"are these boxes {_forms(corners)[0]}? {_as_centres(form)} if so, convert them to {FROM_CENTRE}"


FROM_CENTRE = "[x - width / 2, y - height / 2, width, height]"


def _forms(corners: bool) -> tuple[str, str]:
    """The form that boxes must have, and the other one."""
    two = ("[x0, y0, x1, y1]", "[x, y, width, height]")
    return two if corners else two[::-1]


def _may_be_centres(form: BoxForm, corners: bool) -> bool:
    """Areas say nothing of where a box is; polygons do."""
    return not corners and form.count >= FEWEST and not form.outlined and form.fit_centred == form.count


def _as_centres(form: BoxForm) -> str:
    return (
        f"{form.count - form.fit} of {form.count} pass the border so, and as [centre x, centre y, width, "
        "height] all lie in their images;"
    )


def _assumed(source: DataSource) -> list[str]:
    """Photos of which nothing says how they were annotated."""
    said = (
        "an EXIF orientation, and no size says which way round the annotations were drawn; they are read as "
        "most tools show photos, upright; if they were drawn on the stored pixels, remove the orientation"
    )
    return _noticed(source, ASSUMED, "photo", said)


def _palettes(source: DataSource) -> list[str]:
    said = (
        "a palette of two greys with the lighter one first, so a viewer shows class 0 light and class 1 "
        "dark; the stored indices count; if the greys are meant, set the masks' values, such as [0, 255]"
    )
    return _noticed(source, FALLING, "mask", said)


def _noticed(source: DataSource, what: str, noun: str, said: str) -> list[str]:
    """The warning that some images have what `said` describes, if `what` was noticed of any."""
    tallies = {id(part.tally): part.tally for part in source.parts.values()}
    names = [name for tally in tallies.values() for name in tally.names().get(what, [])]
    has = "has" if len(names) == 1 else "have"
    return [f"{plural(len(names), noun)} {has} {said} ({few(names)})"] if names else []


def _alike(source: DataSource) -> list[str]:
    """Classes that are probably one: letters in both cases are two."""
    by_fold: dict[str, list[str]] = defaultdict(list)
    for name in source.classes:
        by_fold[fold_name(name)].append(f"'{name}'")
    alike = [" and ".join(names) for fold, names in by_fold.items() if len(names) > 1 and len(fold) > 1]
    if not alike:
        return []
    return [f"classes differ only in case or blanks: {few(alike)}; if they are one class, give them one name"]


def _dark(seen: Mapping[Split, Seen], bits: int | None) -> list[str]:
    all_ = [e for part in seen.values() for e in part.evidence]
    if not all_:
        return []
    deep = [e.deepest for e in all_ if e.deepest is not None]
    brightest = max(e.brightest for e in all_)
    used = max(max(deep, default=0).bit_length(), SHALLOW)
    if deep and used < (bits or FULL_BITS):
        found = (
            f"no pixel of {plural(len(deep), 'image')} with more than 8 bits is above {max(deep)}, which "
            f"takes {used} bits, but they are read as {bits or FULL_BITS} bits (brightest value {brightest} "
            f"of 255); set data.bits: {used} to use the whole range"
        )
    elif brightest < DARK:
        found = (
            f"no pixel of any image is above {brightest} of 255: are these images, or values to be scaled?"
        )
    else:
        return []
    if brightest < BLACK:
        raise DataError(f"data: images must not be black, but {found}")
    return [found]


def _twins(seen: Mapping[Split, Seen]) -> list[str]:
    """Images with the same pixels in two splits."""
    places: dict[bytes, list[tuple[Split, str]]] = defaultdict(list)
    for split, part in seen.items():
        for name, evidence in zip(part.names, part.evidence, strict=True):
            places[evidence.digest].append((split, name))
    twice = [found for found in places.values() if len({split for split, _ in found}) > 1]
    if not twice:
        return []
    shown = ["  and  ".join(f"{split} {name}" for split, name in found[:3]) for found in twice]
    return [
        f"{len(twice)} image{'s are' if len(twice) > 1 else ' is'} in two splits, in different files with "
        f"the same pixels, so that metrics there are too good: {few(shown, joint='; ', counted=True)}"
    ]


def _untrained(source: DataSource, seen: Mapping[Split, Seen], own_classes: bool) -> list[str]:
    """Classes that are only measured, because no training image shows them; and those that none shows."""
    shown = {
        split: frozenset[int]().union(*(e.labels for e in part.evidence)) for split, part in seen.items()
    }
    if not shown.get(Split.TRAIN):
        return []
    found = []
    for split in (Split.VALIDATION, Split.TEST):
        names = [source.classes[i] for i in sorted(shown.get(split, frozenset()) - shown[Split.TRAIN])]
        if names:
            found.append(f"{split} shows classes that no training image shows: {few(names)}")
    anywhere = frozenset[int]().union(*shown.values())
    absent = [name for i, name in enumerate(source.classes) if i not in anywhere]
    if own_classes and absent:
        found.append(f"no image shows {'this class' if len(absent) == 1 else 'these classes'}: {few(absent)}")
    return found
