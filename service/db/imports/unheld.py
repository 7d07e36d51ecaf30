"""An import behind a pooler that lends a session for one transaction: between its chunks it holds nothing.

Each transaction makes its own staging table, and has the import to itself for as long as it lasts. In between another
call may go on with the import; then this one finds the ledger further than it believed, and gives up.
"""

from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.imports import entries
from service.db.imports.importing import Importing
from service.db.imports.sifting import Occupied

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"


class Unheld(Importing):
    def _enter(self, cursor: Cursor) -> None:
        """What it finds in the ledger is what is in the table: a transaction of this import that was cut off from its
        caller would still have the lock."""
        if not entries.lock_for_transaction(cursor, self._plan.id, _BEGIN):
            if not self._backend:
                raise entries.busy(self._plan.id)
            raise Occupied
        self._read(cursor)
        cursor.execute("COMMIT")
        self._backend = cursor.connection.info.backend_pid

    def _leave(self, cursor: Cursor) -> None:
        if cursor.connection.info.transaction_status != TRANSACTION_STATUS_IDLE:
            cursor.execute("ROLLBACK")

    def _open(self, cursor: Cursor) -> None:
        begin = f"{self._begin}; {self._staging.create_for_transaction}"
        if not entries.lock_for_transaction(cursor, self._plan.id, begin):
            raise entries.busy(self._plan.id)
