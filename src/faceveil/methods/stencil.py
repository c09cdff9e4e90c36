"""Cloaks that come ready at a template's size, from a trained module or a tensor, and are laid on each face."""

from abc import abstractmethod

import torch
from torch import Tensor

from faceveil.attacks.budget import Linf
from faceveil.faces.align import invert, warp
from faceveil.methods.base import Method
from faceveil.methods.scene import Scene
from faceveil.types import Aligned, Images


class Stencil(Method):
    """Makes the perturbation of faces aligned to `template` at `size`, and brings it to their place in the images.

    There it is cut off at `epsilon` 8-bit levels, fades out around the face, and is gray where the photo is. Where a
    face is smaller than the template, the perturbation is sampled there, not averaged, which would wash it out.
    """

    epsilon: float
    template: str = "arcface"
    size: tuple[int, int] = (112, 112)

    @abstractmethod
    def perturbation(self, faces: Scene) -> Images:
        """What is to be added to the scene's images, the faces aligned; each face's own; a level is 1/255."""

    def cloak(self, scene: Scene) -> Images:
        """The cloaked images of a scene."""
        return self.lay(scene, self.perturbation(self.faces(scene)))

    def faces(self, scene: Scene) -> Scene:
        """The faces of a scene, aligned; gray where it is."""
        seen = torch.where(_each(scene.gray), scene.images.mean(1, keepdim=True), scene.images)
        warped = warp(seen, scene.matrices(self.template, self.size), self.size)
        return Scene.cut(warped, self.template, scene.surrogates, scene.weights)

    def lay(self, scene: Scene, added: Aligned) -> Images:
        """The images of a scene with what is added to its aligned faces brought to their places."""
        images, matrices = scene.images, scene.matrices(self.template, self.size)
        clipped = added.clamp(-self.epsilon / 255, self.epsilon / 255)
        change = warp(clipped, invert(matrices), (images.shape[2], images.shape[3]))
        change = torch.where(_each(scene.gray), change.mean(1, keepdim=True), change)
        share = 1 if scene.share is None else scene.share
        return Linf(self.epsilon, scene.share).project(images + share * change, images)


def _each(flags: Tensor) -> Tensor:
    return flags[:, None, None, None]
