"""How mail goes out: mailings, batches, messages, and the books of what became of each.

To follow one message, read in this order:

1. `service` freezes an audience into messages and cuts them into batches; `posting` does so for single
   mails.
2. `batches`: a worker claims one. Its token is in each of its writes, so who lost the batch writes nothing.
3. `sending` works it off in blocks, two on the wire (`lanes`). `reading` says to whom, `letter` writes the
   mails (with `stencil`, `segments`, `mime`, `headers`; single mails by `sheaf`), `answers` says what a
   reply means.
4. `rounds` writes the outcomes of a block and opens the next in one transaction; only then may its mails
   begin. `ledger` has the table of which outcome may follow which, and the counters.
5. `service.close_if_done` ends the mailing, once nothing is pending and the books balance.

Besides: `steering`, `brake`, `halting` and `cancelling` stop mails on their way, `resending` sends again
what is unknown, `returns` notes what came back of a mail, `announcing` tells the event log, `history`,
`queries` and `progress` read.
"""
