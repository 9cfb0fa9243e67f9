"""What text is to a model: POST /tokenize, /detokenize, and FastChat's /api/v1/token_check."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api import intake
from api.house import house_of
from api.openapi import body_of
from api.pictures import with_pictures
from api.reading import ReadAnswer
from api.scope import model_to_use
from queuechat.dialects import reading
from queuechat.dialects.order import Order
from queuechat.dialects.schemas import DetokenizeRequest, TokenCheckRequest, TokenizeRequest
from queuechat.protocol import Read, choice_id
from queuechat.roster import Model

router = APIRouter(tags=["tokens"])


@router.post("/tokenize", openapi_extra=body_of(TokenizeRequest, keyed=False))
@router.post("/v1/tokenize", openapi_extra=body_of(TokenizeRequest, keyed=False))
async def tokenize(request: Request) -> Response:
    """The tokens of a prompt, or of a chat as the model's template writes it; in vLLM's shape."""
    body, model = await intake.read(request, TokenizeRequest)
    slip = intake.slip_of(request, house_of(request), model, stream=False)
    slip = await with_pictures(request, slip, body)
    order = await intake.worked(request, reading.order_of, body, slip)

    def show(reads: list[Read]) -> dict[str, object]:
        return reading.tokens_body(reads[0], model.card.context_length, pieces=bool(body.return_token_strs))

    return ReadAnswer(request, [order], show)


@router.post("/detokenize", openapi_extra=body_of(DetokenizeRequest, keyed=False))
@router.post("/v1/detokenize", openapi_extra=body_of(DetokenizeRequest, keyed=False))
async def detokenize(request: Request) -> Response:
    """The text of token ids, without special tokens."""
    body, model = await intake.read(request, DetokenizeRequest)
    order = reading.text_order_of(body, intake.slip_of(request, house_of(request), model, stream=False))
    return ReadAnswer(request, [order], lambda reads: {"prompt": reads[0].text})


@router.post("/api/v1/token_check", openapi_extra=body_of(TokenCheckRequest, keyed=False))
async def check_tokens(request: Request) -> Response:
    """Whether prompts, with `max_tokens` of answer each, fit the context of their models."""
    body = await intake.checked(request, TokenCheckRequest)
    models = [await model_to_use(request, check.model) for check in body.prompts]
    places: dict[str, list[int]] = {}  # of the prompts, by the name of their model
    for place, model in enumerate(models):
        places.setdefault(model.card.name, []).append(place)

    def show(reads: list[Read]) -> dict[str, object]:
        found = dict(zip((place for group in places.values() for place in group), reads, strict=True))
        return {"prompts": [_row(found[k], models[k], check.max_tokens) for k, check in enumerate(body.prompts)]}

    return ReadAnswer(request, [_counting(request, body, models[group[0]], group) for group in places.values()], show)


def _counting(request: Request, body: TokenCheckRequest, model: Model, places: list[int]) -> Order:
    slip = intake.slip_of(request, house_of(request), model, stream=False)
    return reading.count_order_of([(choice_id(slip.id, k), body.prompts[k].prompt) for k in places], slip)


def _row(read: Read, model: Model, max_tokens: int) -> dict[str, object]:
    length = model.card.context_length
    return {"fits": read.count + max_tokens <= length, "tokenCount": read.count, "contextLength": length}
