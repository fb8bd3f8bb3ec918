"""Training and sampling on a GPU and on several processes, as far as a CPU can show."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aigc_pipeline.errors import InputError
from aigc_pipeline.features import TableCodec
from aigc_pipeline.generators import ancestral, autoregressive, denoise, training
from aigc_pipeline.generators.autoregressive import quasi_random
from aigc_pipeline.generators.diffusion_net import State
from aigc_pipeline.generators.hardware import cpu_threads
from aigc_pipeline.generators.keeper import Keeper
from aigc_pipeline.generators.training import Compute, Effort, Trainable, make_fabric, train
from aigc_pipeline.generators.vae import VAE
from aigc_pipeline.sources import infer_schema
from aigc_pipeline.spec import GeneratorSpec, TableSpec
from aigc_pipeline.synthesis import sampler
from aigc_pipeline.tabular import TableModel, find_family, fit_table

TABLE = TableSpec(source={"file": "patients.csv"})
DRAFT = GeneratorSpec(quality="draft")
CONTEXT = 3


@pytest.fixture(scope="module")
def patients(diabetes: pl.DataFrame) -> pl.DataFrame:
    """Four columns of the diabetes table."""
    return diabetes.select("age", "sex", "bmi", "target")


@pytest.fixture(scope="module")
def codec(patients: pl.DataFrame) -> TableCodec:
    return TableCodec.fit(patients, infer_schema(patients, "patients", TABLE), TABLE)


class Caught(Exception):
    """What a family would have trained with."""


def catch(family: str, codec: TableCodec, tokens: np.ndarray) -> tuple[Any, ...]:
    """The network and the loss that a family trains; of a gan, its two networks' game."""

    def caught(*arguments: object, **_: object) -> None:
        raise Caught(*arguments)

    context = np.zeros((len(tokens), CONTEXT), dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Caught) as found:
        patch.setattr(training, "_run", caught)
        if family == "gan":
            patch.setattr("aigc_pipeline.generators.gan.play", caught)
        find_family(family)().fit(codec, tokens, context=context, quality="draft")
    return found.value.args


# A CPU build of torch cannot so much as index a pretended tensor on "cuda"; "meta" it knows.
DEVICE = torch.device("meta")


class OtherDevice(TorchDispatchMode):
    """Pretends that there is another device, and has all operands of an operation on the same one.

    FakeTensorMode lets `embedding` and indexing mix devices, which a GPU does not. Values that
    Python asks for, to choose its way by, are all `answer`.
    """

    def __init__(self, answer: float = 1.0) -> None:
        super().__init__()
        self.answer = answer

    def __enter__(self) -> OtherDevice:
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.fake.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.fake.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.dim()]
        aten = torch.ops.aten
        if func is aten._local_scalar_dense.default:
            return self.answer
        if func is aten.exponential_.default:  # which cannot be pretended with a generator
            return args[0]
        fine = func in (aten._to_copy.default, aten.copy_.default)
        fine |= func is aten.index.Tensor and found[0].device == DEVICE  # by a list, say
        if len({t.device for t in found}) > 1 and not fine:
            raise RuntimeError(f"{func}: operands on {', '.join(str(t.device) for t in found)}")
        return func(*args, **(kwargs or {}))


def move(model: nn.Module) -> None:
    """Put a network on the other device."""
    for part in model.modules():
        for name, p in part.named_parameters(recurse=False):
            part._parameters[name] = nn.Parameter(torch.empty_like(p, device=DEVICE))
        for name, b in part.named_buffers(recurse=False):
            part._buffers[name] = torch.empty_like(b, device=DEVICE)


@pytest.mark.parametrize("family", ["autoregressive", "diffusion", "vae"])
def test_a_step_of_training_stays_on_its_device(
    family: str, codec: TableCodec, patients: pl.DataFrame
) -> None:
    tokens = codec.encode(patients)
    _, model, loss, *_ = catch(family, codec, tokens)
    with OtherDevice():
        move(model)
        keeper = Keeper(model, patience=1)
        optimizer = torch.optim.AdamW(model.parameters())
        rows = torch.zeros(64, tokens.shape[1], dtype=torch.int64, device=DEVICE)
        context = torch.zeros(64, CONTEXT, device=DEVICE)
        model.train()
        losses = loss(model, rows, context, keeper.active)
        assert losses.device == DEVICE and losses.shape == (len(keeper.parts),)
        losses.sum().backward()
        optimizer.step()
        keeper.follow(0.9)
        keeper.settle()
        model.eval()
        with torch.no_grad(), keeper.averaged():
            assert loss(model, rows, context, keeper.active).device == DEVICE
        keeper.restore()


@pytest.mark.parametrize("family", ["autoregressive", "diffusion", "vae"])
def test_every_weight_is_some_parts_or_shared(
    family: str, codec: TableCodec, patients: pl.DataFrame
) -> None:
    _, model, *_ = catch(family, codec, codec.encode(patients))
    kept = [p for flat in Keeper(model, patience=1).flats for p in flat.parameters]
    assert len(kept) == len(set(kept)) and set(kept) == set(model.parameters())


class OneThread:
    """A pool that works in the caller's thread, where the other device is known."""

    map = map


@pytest.mark.parametrize(
    ("family", "module"),
    [
        ("autoregressive", "autoregressive"),
        ("diffusion", "diffusion"),
        ("vae", "latent_training"),
    ],
)
def test_a_familys_own_backward_gives_the_optimizer_its_gradients(
    family: str,
    module: str,
    codec: TableCodec,
    patients: pl.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = f"aigc_pipeline.generators.{module}.make_pool"
    monkeypatch.setattr(pool, lambda workers: nullcontext(OneThread()))
    caught = catch(family, codec, codec.encode(patients))
    model, data, backward = caught[1], caught[3], caught[7]
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)  # heads begin at zero, and would hide the others
    keeper = Keeper(model.train(), patience=1)
    for times in (1, 2):
        backward(data[0][:64], data[2][:64], keeper.active)
        for flat in keeper.flats:
            whole = flat.weight.grad
            assert whole is not None and whole.isfinite().all() and whole.abs().sum() > 0
            each = [p.grad.flatten() for p in flat.parameters if p.grad is not None]
            assert torch.equal(torch.cat(each), whole), times


def test_a_step_of_a_gans_game_stays_on_its_device(
    codec: TableCodec, patients: pl.DataFrame
) -> None:
    tokens = codec.encode(patients)
    game, *_ = catch("gan", codec, tokens)
    with OtherDevice():
        for network in (game.net, game.critic):
            move(network)
        game._optimizer = torch.optim.Adam  # a fused one knows the devices it is for
        game.__post_init__()
        rows = torch.zeros(2 * game.critic.pack, tokens.shape[1], dtype=torch.int64, device=DEVICE)
        context = torch.zeros(len(rows), CONTEXT, device=DEVICE)
        game.step(1, rows, context, OneThread())
        assert all(p.device == DEVICE for p in game.mean.parameters())


@pytest.fixture
def asked(codec: TableCodec) -> tuple[dict[int, np.ndarray], dict[int, Tensor], Tensor, Tensor]:
    """What rows are drawn under: a rule, a mask, given tokens and a context."""
    sizes = codec.sizes
    rule = np.ones((sizes[0], sizes[2]), dtype=bool)
    mask = torch.ones(sizes[1], dtype=torch.bool, device=DEVICE)
    given = torch.zeros(64, len(sizes), dtype=torch.int64, device=DEVICE)
    return {2: {0: rule}}, {1: mask}, given, torch.zeros(64, CONTEXT, device=DEVICE)


@pytest.mark.parametrize("family", ["autoregressive", "vae"])
def test_drawing_rows_stays_on_its_device(
    family: str, codec: TableCodec, patients: pl.DataFrame, asked
) -> None:
    _, model, *_ = catch(family, codec, codec.encode(patients))
    rules, masks, given, context = asked
    with OtherDevice():
        move(model.eval())
        uniform = torch.rand(64, len(codec.sizes) + 99, device=DEVICE)
        if family == "autoregressive":
            tokens = torch.zeros_like(given)
            weight = torch.zeros(64, dtype=torch.float64, device=DEVICE)
            rows = ancestral._Rows(uniform, given, context, tokens, weight)
            ancestral.Ancestral(model, rules, masks)._each(rows, 0)
        else:
            normal = torch.zeros(64, model.prior.latent, device=DEVICE)
            drawn = VAE(model, rules)._sample(uniform, normal, masks, given, context)
            assert {t.device for t in drawn} == {DEVICE}


# What the sampler looks at to choose its way is always so, or never.
@pytest.mark.parametrize("answer", [1.0, 0.0])
def test_denoising_rows_stays_on_its_device(
    codec: TableCodec, patients: pl.DataFrame, asked, answer: float
) -> None:
    _, model, *_ = catch("diffusion", codec, codec.encode(patients))
    rules, masks, given, context = asked
    with OtherDevice(answer):
        move(model.eval())
        both = denoise._both_ways(rules, codec.sizes)
        by = {j: {i: r.to(DEVICE) for i, r in of.items()} for j, of in both.items()}
        noisy = torch.zeros(64, len(model.coordinates), device=DEVICE)
        state = State(torch.zeros_like(given), given < 0, noisy, torch.zeros_like(noisy))
        uniform = torch.rand(64, len(codec.sizes), device=DEVICE)
        weight = torch.zeros(64, dtype=torch.float64, device=DEVICE)
        denoise._Rows(model, by, masks, uniform, given, context, state, weight).draw([0, 1])


def test_a_tensor_on_the_wrong_device_is_noticed() -> None:
    with OtherDevice():
        table, at = torch.zeros(3, 2, device=DEVICE), torch.zeros(4, dtype=torch.int64)
        for mix in (lambda: table + 1 + torch.ones(2), lambda: nn.functional.embedding(at, table)):
            with pytest.raises(RuntimeError, match=r"operands on|on the same device"):
                mix()


@pytest.mark.parametrize("family", ["autoregressive", "diffusion", "vae"])
def test_a_loss_may_be_computed_in_bfloat16(
    family: str, codec: TableCodec, patients: pl.DataFrame
) -> None:
    tokens = codec.encode(patients)
    _, model, loss, *_ = catch(family, codec, tokens)
    rows, context = torch.from_numpy(tokens[:256].astype(np.int64)), torch.zeros(256, CONTEXT)
    parts = list(range(len(model.parts())))
    found = []
    for low in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            losses = loss(model.train(), rows, context, parts)
        losses.sum().backward()
        found.append(losses.sum().item())
    assert found[1] == pytest.approx(found[0], rel=0.02) and found[0] != found[1]
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


class Softmaxes(Trainable):
    """Two columns' logits from a shared embedding of the first one's token."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(3, 4)
        self.heads = nn.ModuleList([nn.Linear(4, 5), nn.Linear(4, 2)])

    def forward(self, rows: Tensor, columns: list[int]) -> list[Tensor]:
        return [self.heads[j](self.table(rows[:, 0])) for j in columns]

    def shared(self) -> list[nn.Parameter]:
        return list(self.table.parameters())

    def parts(self) -> list[list[nn.Parameter]]:
        return [list(head.parameters()) for head in self.heads]


def cross_entropy(
    model: nn.Module, rows: Tensor, context: Tensor | None, columns: list[int]
) -> Tensor:
    """Each column's mean loss."""
    logits = zip(columns, model(rows, columns), strict=True)
    return torch.stack([nn.functional.cross_entropy(z, rows[:, j + 1]) for j, z in logits])


def test_two_processes_give_the_weights_of_one() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = torch.stack([torch.randint(0, n, (600,), generator=generator) for n in (3, 5, 2)], 1)
    rows[:, 2] = rows[:, 0] % 2
    # A batch of an odd size is shared unequally; the first column is noise, and stops early.
    effort = Effort(steps=120, batch=33, learning_rate=0.05, time_limit=300, patience=2)
    found = []
    for devices in (1, 2):
        model = Softmaxes()
        compute = Compute(accelerator="cpu", devices=devices)
        history = train(model, cross_entropy, rows[100:], rows[:100], effort, compute=compute)
        found.append((model.state_dict(), history))
    (one, alone), (two, together) = found
    assert all(torch.allclose(weight, two[name], atol=1e-5) for name, weight in one.items())
    assert not torch.equal(one["table.weight"], Softmaxes().table.weight)
    assert alone.steps == together.steps == 120
    assert alone.best_loss == pytest.approx(together.best_loss, abs=1e-4)


def test_too_few_rows_for_the_processes_are_refused() -> None:
    rows = torch.zeros(40, 3, dtype=torch.int64)
    compute = Compute(accelerator="cpu", devices=2)
    effort = Effort(steps=2, batch=1, learning_rate=0.05, time_limit=300)
    with pytest.raises(InputError, match="a batch of 1 row cannot be shared between 2 devices"):
        train(Softmaxes(), cross_entropy, rows[20:], rows[:20], effort, compute=compute)


@pytest.mark.parametrize(
    "family",
    [
        "autoregressive",
        pytest.param("diffusion", marks=pytest.mark.slow),
        pytest.param("vae", marks=pytest.mark.slow),
    ],
)
def test_a_table_is_learned_by_two_processes(family: str, patients: pl.DataFrame) -> None:
    said: list[str] = []
    model = fit_table(
        patients,
        TABLE,
        generator=GeneratorSpec(family=family, quality="draft"),
        compute=Compute(accelerator="cpu", devices=2),
        progress=lambda message, done: said.append(message),
    )
    assert "training on 2 devices" in said
    assert model.card["history"]["best_loss"] < model.card["history"]["first_loss"]
    assert model.sample(50).schema == patients.schema


def test_threads_change_nothing(patients: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for threads in (1, 2):
        monkeypatch.setattr(sampler, "cores", lambda threads=threads: threads)
        with cpu_threads(threads):
            compute = Compute(accelerator="cpu", threads=threads)
            model = fit_table(patients, TABLE, generator=DRAFT, compute=compute)
            weights = model.generator.net.state_dict()  # type: ignore[attr-defined]
            rows = model.sample(20_000, seed=1).write_csv()
        found.append(({name: w.numpy().tobytes() for name, w in weights.items()}, rows))
    assert found[0] == found[1]


def test_calibration_keeps_to_one_thread(
    patients: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def noted(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
        seen.append(torch.get_num_threads())
        return quasi_random(rows, columns, rng)

    monkeypatch.setattr(autoregressive, "quasi_random", noted)
    with cpu_threads(2):
        fit_table(patients, TABLE, generator=DRAFT)
    assert seen == [1]


def test_a_saved_model_asks_for_no_gpu(
    patients: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_table(patients, TABLE, generator=DRAFT).save(tmp_path / "m")

    def refuse(*_: object) -> None:
        raise AssertionError("a GPU was asked for")

    for name in ("is_available", "_lazy_init", "device_count"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    assert TableModel.load(tmp_path / "m").sample(20).schema == patients.schema


def test_an_accelerator_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="accelerator 'tpu': choose auto, cpu or cuda"):
        make_fabric(Compute(accelerator="tpu"))
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="torch sees no GPU here; use auto or cpu"):
            make_fabric(Compute(accelerator="cuda"))
