"""Dynamic batching: what comes while the model is busy goes through it together, next."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import torch

from faceveil.attacks.quantization import Grid
from faceveil.service.wire import SIDE, Message
from faceveil.types import Images

Cloud = Callable[[Images], Images]  # gradients [n, 3, 112, 112] to noise, each face's its own; a level is 1/255


@dataclass(frozen=True, eq=False)
class Model:
    """A cloud, its name, the epsilon in 8-bit levels for which it was trained, where it lives, and whom it fools.

    `fools` are the names of the recognizers that it learned to fool.
    """

    name: str
    cloud: Cloud
    epsilon: float = 8.0
    device: torch.device | str = "cpu"
    fools: tuple[str, ...] = ()

    def answer(self, asked: Sequence[Message], batch: int) -> list[Message]:
        """Noise for each message, in whole levels within its epsilon; `batch` faces go through the cloud at a time.

        Another epsilon than the model's own scales what goes in, and what comes out. Raises `ArithmeticError` where
        the noise is not finite.
        """
        gradients = torch.cat([Grid(self.epsilon, each.grid.values).noise(each.codes) for each in asked])
        noise = self.noise(gradients, batch)
        if not noise.isfinite().all():
            raise ArithmeticError
        answers = []
        for each, found in zip(asked, torch.split(noise, [len(each.codes) for each in asked]), strict=True):
            grid = Grid(each.grid.epsilon, 2 * int(each.grid.epsilon) + 1)
            answers.append(Message(self.name, grid, grid.codes(found * (grid.epsilon / self.epsilon))))
        return answers

    def noise(self, gradients: Images, batch: int) -> Images:
        """What the cloud makes of gradients at its own epsilon."""
        with torch.no_grad():
            return torch.cat([self.cloud(some.to(self.device)).cpu() for some in torch.split(gradients, batch)])


class Batcher:
    """Brings the faces of concurrent requests to the model in batches, in one thread beside the event loop.

    Nobody waits for a batch to fill: a request that finds the model idle goes at once. What is given up is let go of at
    once, too. `watch` is told how many faces go together.
    """

    def __init__(self, model: Model, batch: int, watch: Callable[[int], None] = lambda faces: None) -> None:
        self.model, self.batch, self.watch = model, batch, watch
        self._waiting: dict[asyncio.Future[Message], Message] = {}
        self._came = asyncio.Event()

    async def __call__(self, message: Message) -> Message:
        """The answer; raises what the model raises."""
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[future] = message
        self._came.set()
        try:
            return await future
        finally:
            self._waiting.pop(future, None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serves inside the context; the model runs once first, as first runs are slow."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as thread:
            await loop.run_in_executor(thread, self.model.noise, torch.zeros(1, 3, SIDE, SIDE), 1)
            worker = asyncio.create_task(self._work(thread))
            try:
                yield
            finally:
                worker.cancel()
                with suppress(asyncio.CancelledError):
                    await worker

    async def _work(self, thread: ThreadPoolExecutor) -> None:
        while True:
            await self._serve(thread)  # of its own, so that nothing of a batch is kept while the next is awaited

    async def _serve(self, thread: ThreadPoolExecutor) -> None:
        asked = await self._next()
        try:
            answers = await asyncio.get_running_loop().run_in_executor(
                thread, self.model.answer, [*asked.values()], self.batch
            )
        except Exception as error:  # whatever it is: those who wait are told, and others are served
            for future in asked:
                if not future.done():
                    future.set_exception(error)
            return
        for future, answer in zip(asked, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    async def _next(self) -> dict[asyncio.Future[Message], Message]:
        """The requests that wait, the first first, as many as fill a batch."""
        asked: dict[asyncio.Future[Message], Message] = {}
        faces = 0
        while not asked or (self._waiting and faces < self.batch):
            while not self._waiting:
                self._came.clear()
                await self._came.wait()
            future = next(iter(self._waiting))
            message = self._waiting.pop(future)
            if not future.done():
                asked[future] = message
                faces += len(message.codes)
        for start in range(0, faces, self.batch):
            self.watch(min(self.batch, faces - start))
        return asked
