"""Photos by the batch: files in, cloaked files and proofs out, a few in memory at a time."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain

from faceveil.errors import FaceveilError, NoFaceError
from faceveil.faces.detect import Face
from faceveil.files import one_line, remove_leftovers
from faceveil.jobs import Job, neighbors
from faceveil.methods import Personal
from faceveil.methods.album import Album
from faceveil.photo import MAX_PIXELS, Photo
from faceveil.proof import FaceProof, Verdict
from faceveil.protection import FOREIGN, Protector

TOGETHER = 8  # photos that are cloaked together, unless they have more than
PIXELS = 50_000_000
NEIGHBORS = 8  # photos beside those of a run that were cloaked earlier, from whose cloaks a person's are led apart
ENROLLED = 9  # photos by which a person is known, beside the one that is given


@dataclass(frozen=True)
class Writing:
    """How files are read and written: see `Photo`. With `longest`, what is cloaked and shared is a smaller copy."""

    format: str | None = None
    keep_metadata: bool = False
    force: bool = False
    max_pixels: int = MAX_PIXELS
    longest: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job: proofs, or an error; neither where the file was there already.

    An error is `faceless` where the photo shows no face that is to be cloaked. A cloaked file may be `written`, and yet
    not be measured. So many faces `beside` were found and left as they are. `clear` and `shared` are the photos as read
    and as read again, for pictures of them.
    """

    job: Job
    faces: tuple[FaceProof, ...] = ()
    error: str = ""
    faceless: bool = False
    written: bool = False
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    beside: int = 0
    clear: Photo | None = field(default=None, repr=False)
    shared: Photo | None = field(default=None, repr=False)

    @property
    def status(self) -> str:
        """cloaked, skipped (the file was there already), faceless or failed."""
        if self.error:
            return "faceless" if self.faceless else "failed"
        return "cloaked" if self.faces else "skipped"

    @property
    def failing(self) -> list[Verdict]:
        """The verdicts by which someone in the cloaked photo is still recognized."""
        return [verdict for face in self.faces for verdict in face.verdicts if verdict.recognized]

    @property
    def recognized(self) -> bool:
        """Whether anyone in the cloaked photo is still recognized."""
        return bool(self.failing)


def protect_files(protector: Protector, jobs: Sequence[Job], writing: Writing | None = None) -> Iterator[Outcome]:
    """Outcomes of any number of jobs, in their order; an error is an outcome, never an exception.

    Photos are read ahead and written behind while others are cloaked; a few are in memory at a time. A file that is
    there already is left alone, so that a run that was killed goes on where it was. A method that cloaks a person's
    photos alike knows the person from the first photos, also from those that were cloaked before; one that keeps a
    person's cloaks apart reads all of the jobs that were done before first, and the last few that were cloaked beside
    them.
    """
    writing = writing or Writing()
    for folder in {path.parent for job in jobs for path in (job.destination, job.picture)}:
        remove_leftovers(folder)
    if isinstance(protector.method, Personal) and protector.choice.only_like:
        known = chain.from_iterable(_read(jobs[:ENROLLED], replace(writing, force=True)))
        with suppress(*FOREIGN):  # the person stays known by the one photo
            protector.enroll(work.clear for work in known if work.clear)
    groups, album = _read(jobs, writing), None
    with ThreadPoolExecutor(2) as pool:
        ahead = pool.submit(next, groups, None)
        behind: list[_Work] = []
        while group := ahead.result():
            alone = sum(work.pixels for work in group) > PIXELS  # others would not fit into memory beside it
            if not alone:
                ahead = pool.submit(next, groups, None)
            _find(protector, group, writing)
            faces = [work for work in group if work.faces]
            if faces and album is None:
                album = _album(protector, jobs, writing)
            _cloak(protector, faces, album)
            for work in faces:
                if work.cloaked is not None:
                    work.shared = pool.submit(_write, work, work.cloaked, writing)
            yield from (_outcome(protector, work) for work in behind)
            behind = group
            if alone:
                yield from (_outcome(protector, work) for work in behind)
                behind, group, faces = [], [], []
                ahead = pool.submit(next, groups, None)
        yield from (_outcome(protector, work) for work in behind)


@dataclass
class _Work:
    """A job on its way through: each field is filled by the stage that its name tells."""

    job: Job
    clear: Photo | None = None
    faces: Sequence[Face] = ()
    beside: int = 0
    cloaked: Photo | None = None
    attacked: Sequence[str] = ()
    notes: tuple[str, ...] = ()
    written: bool = False
    shared: "Future[Photo] | None" = None
    error: str = ""
    faceless: bool = False
    seconds: float = 0.0

    @property
    def pixels(self) -> int:
        """How many the photo has that was read."""
        return self.clear.width * self.clear.height if self.clear else 0


def _read(jobs: Sequence[Job], writing: Writing) -> Iterator[list[_Work]]:
    """Groups of jobs whose photos were read: so many together as fit into memory."""
    group: list[_Work] = []
    for job in jobs:
        work = _Work(job, error=job.refused)
        try:
            if not job.refused and _open_to(job, writing):
                work.clear = _open(job, writing)
        except FaceveilError as error:
            work.error = str(error)
        except FOREIGN as error:
            work.error = _told(job, error)
        if group and sum(each.pixels for each in (*group, work)) > PIXELS:
            yield group
            group = []
        group.append(work)
        if len(group) == TOGETHER or work.pixels > PIXELS:
            yield group
            group = []
    if group:
        yield group


def _open_to(job: Job, writing: Writing) -> bool:
    """Whether its file may be written."""
    return writing.force or not os.path.lexists(job.destination)


def _open(job: Job, writing: Writing) -> Photo:
    """What is cloaked and shared, as it is now."""
    photo = Photo.open(job.source, writing.max_pixels)
    if writing.longest is not None:
        photo = photo.smaller(writing.longest)
    return photo.converted(writing.format) if writing.format else photo


def _album(protector: Protector, jobs: Sequence[Job], writing: Writing) -> Album:
    """The faces that earlier runs cloaked, of these photos and of some beside them, if there is anything left to cloak.

    What cannot be read, or has another shape than its photo, is passed over.
    """
    album = Album()
    done = [job for job in jobs if not (job.refused or _open_to(job, writing))]
    if not protector.method.keeps_apart or len(done) == len(jobs):
        return album
    album.seen_by(protector.method.guides)
    for job in (*done, *neighbors(jobs, NEIGHBORS)):
        with suppress(FaceveilError, *FOREIGN):
            shared = Photo.open(job.destination, writing.max_pixels)
            clear = Photo.open(job.source, writing.max_pixels).smaller(max(shared.size))
            if clear.size == shared.size:
                faces = protector.find(clear)
                album.add(*(protector.see(photo, faces) for photo in (clear, shared)))
    return album


def _find(protector: Protector, group: Sequence[_Work], writing: Writing) -> None:
    for work in group:
        start = time.perf_counter()
        try:
            if work.clear and _open_to(work.job, writing):  # another run may have written it by now
                work.faces, work.beside = protector.look(work.clear)
        except (FaceveilError, *FOREIGN) as error:
            work.error = _told(work.job, error)
            work.faceless = isinstance(error, NoFaceError)
            if work.faceless and writing.longest:
                work.error += f", in a copy of at most {writing.longest} pixels (--longest)"
        work.seconds = time.perf_counter() - start


def _told(job: Job, error: Exception, fate: str = "") -> str:
    """One line about an error that does not name the photo, and the photo's fate where the error does not tell it."""
    if isinstance(error, FaceveilError) and not fate:
        return f"{one_line(job.source)}: {error}"
    told = one_line(error) or type(error).__name__
    scarce = isinstance(error, MemoryError) or re.search("(?i)out of memory|alloc", told)
    return f"{one_line(job.source)}: {fate or 'cannot be cloaked'} ({told}){'; try it smaller' if scarce else ''}"


def _cloak(protector: Protector, group: Sequence[_Work], album: Album | None) -> None:
    """Cloak photos together; where that fails, because of one of them or out of memory, say, one by one."""
    start = time.perf_counter()
    cloaked = None
    try:
        cloaked = protector.cloak([work.clear for work in group if work.clear], [work.faces for work in group], album)
    except (FaceveilError, *FOREIGN) as error:
        if len(group) == 1:
            group[0].error = _told(group[0].job, error)
            return
    if cloaked is None:  # here the error is gone, and all that the failed cloaks held
        for work in group:
            _cloak(protector, [work], album)
        return
    for work, photo in zip(group, cloaked, strict=True):
        work.cloaked, work.attacked, work.notes = photo, protector.method.attacked, protector.method.notes
        work.seconds += (time.perf_counter() - start) / len(group)


def _write(work: _Work, cloaked: Photo, writing: Writing) -> Photo:
    """Write the file, and read it again."""
    path = cloaked.save(work.job.destination, cloaked.format, writing.keep_metadata, writing.force)
    work.written = True
    return Photo.open(path, writing.max_pixels)


def _outcome(protector: Protector, work: _Work) -> Outcome:
    start = time.perf_counter()
    if work.clear is None or work.shared is None:
        return Outcome(work.job, error=work.error, faceless=work.faceless)
    try:
        shared = work.shared.result()
        proofs = protector.prove(work.clear, shared, work.faces, work.attacked)
    except (FaceveilError, *FOREIGN) as error:
        if isinstance(error.__cause__, FileExistsError) and os.path.lexists(work.job.destination):  # by another run
            return Outcome(work.job)
        return Outcome(work.job, error=_unproven(work, error), written=work.written)
    seconds = work.seconds + time.perf_counter() - start
    return Outcome(
        work.job,
        proofs,
        written=True,
        notes=(*work.clear.notes, *work.notes),
        seconds=seconds,
        beside=work.beside,
        clear=work.clear,
        shared=shared,
    )


def _unproven(work: _Work, error: Exception) -> str:
    """One line about a cloak that was not written, or was and is not measured."""
    if work.written:
        fate = f"{one_line(work.job.destination)} is written, and cannot be measured"
        return f"{_told(work.job, error, fate)}; --force makes it anew"
    return str(error) if isinstance(error, FaceveilError) else _told(work.job, error, "cannot be written")
