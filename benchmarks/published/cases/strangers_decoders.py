"""Strangers' loops: decoders that are to write what they have not yet seen."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam

from published.case import Reached, Trial, case
from published.material import batches

START = 0


class _Translator(nn.Module):
    """One layer that reads, one that writes."""

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.source, self.target = nn.Embedding(10, 32), nn.Embedding(10, 32)
        self.place = nn.Embedding(8, 32)
        self.encoder = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True)
        self.decoder = nn.TransformerDecoderLayer(32, 2, 64, dropout=0.0, batch_first=True)
        self.out = nn.Linear(32, 10)

    def forward(self, read: Tensor, written: Tensor) -> Tensor:
        memory = self.encoder(self.source(read) + self.place(torch.arange(read.shape[1])))
        n = written.shape[1]
        hidden = self.target(written) + self.place(torch.arange(n))
        mask = nn.Transformer.generate_square_subsequent_mask(n) if self.causal else None
        out: Tensor = self.out(self.decoder(hidden, memory, tgt_mask=mask))
        return out


@case(
    "kyubyong-transformer-94",
    source="https://github.com/Kyubyong/transformer/issues/94",
    wrong="the mask does not keep an output from what comes later: the decoder copies its input",
    mended="a mask that does",
    ported="texts of seven are shifted by a letter; reached is what is written letter by letter",
)
def copies_what_it_should_write(trial: Trial) -> Reached:
    """Perfect while it is told the answer."""
    read = torch.randint(1, 10, (1500, 7), generator=trial.generator)
    wanted = 1 + (read + read.roll(1, 1)) % 9
    model = _Translator(causal=trial.fixed)
    optimizer = Adam(model.parameters(), lr=3e-3)
    telemetry = trial.record(model, optimizer)
    begun = torch.full((1500, 1), START)
    inputs = torch.cat([begun, wanted[:, :-1]], 1)
    for _ in range(12):
        model.train()
        for rows, _same in batches(torch.arange(1200), torch.arange(1200), 30, trial.generator):
            out = model(read[rows], inputs[rows])
            loss = functional.cross_entropy(out.flatten(0, 1), wanted[rows].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        model.eval()
        with torch.no_grad():
            out = model(read[1200:], inputs[1200:]).flatten(0, 1)
            telemetry.log(val_loss=functional.cross_entropy(out, wanted[1200:].flatten()))
    written = begun[1200:]
    with torch.no_grad():
        for _ in range(7):
            letter = model(read[1200:], written)[:, -1].argmax(-1, keepdim=True)
            written = torch.cat([written, letter], 1)
    return Reached(share=float((written[:, 1:] == wanted[1200:]).float().mean()))
