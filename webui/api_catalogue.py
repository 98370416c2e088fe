"""The studio's own API, part two: what there is to choose from, and the recipes of pictures."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, File, UploadFile
from pydantic import BaseModel

from studio.jobs.service import Service
from studio.schedulers import catalogue
from studio.webui.recipes import PictureInfo, picture_info


class Model(BaseModel):
    """A model that jobs may name."""

    name: str
    family: str
    licence: str
    description: str
    defaults: dict[str, Any]


class Sampler(BaseModel):
    """A way to walk from noise to a picture."""

    name: str
    aliases: list[str]
    description: str
    schedules: list[str]


class Schedule(BaseModel):
    """A spacing of the noise levels."""

    name: str
    aliases: list[str]
    description: str


def router(service: Service) -> APIRouter:
    """The routes of models, samplers, schedules and picture information."""
    api = APIRouter(prefix="/api/v1", tags=["catalogue"])

    @api.get("/models")
    def models() -> list[Model]:
        """The models that jobs may name, with their licences."""
        return [
            Model(
                name=card.name,
                family=card.family,
                licence=card.licence,
                description=card.description,
                defaults=asdict(card.defaults),
            )
            for card in service.models()
        ]

    @api.get("/samplers")
    def samplers() -> list[Sampler]:
        """The samplers, and the schedules that each can run on."""
        return [
            Sampler(
                name=row.name,
                aliases=list(row.aliases),
                description=row.description,
                schedules=list(row.spacings),
            )
            for row in catalogue.samplers()
        ]

    @api.get("/schedules")
    def schedules() -> list[Schedule]:
        """The spacings of the noise levels."""
        return [
            Schedule(name=row.name, aliases=list(row.aliases), description=row.description)
            for row in catalogue.schedules()
        ]

    @api.post("/png-info")
    def png_info(file: Annotated[UploadFile, File()]) -> PictureInfo:
        """The recipe that a picture carries, of this studio or another tool. Plain text only."""
        return picture_info(file.file.read(), "file")

    return api
