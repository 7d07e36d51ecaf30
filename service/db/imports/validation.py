"""An import of which nothing stays: all of it is one transaction, which is rolled back."""

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.imports.chunks import Chunk
from service.db.imports.importing import Importing

_UNTIL_THE_END = "SET LOCAL idle_in_transaction_session_timeout = 0"


class Validation(Importing):
    """So that rows are seen to collide with earlier ones; therefore nothing is tried again, and nothing remembered."""

    def settle(self, chunk: Chunk) -> None:
        try:
            connection = self._held.connection()
            with self._guarded(connection), connection.cursor() as cursor:
                self._stage(cursor)
                self._committed(*self._write(cursor, chunk))
                cursor.execute(self._staging.empty)
        except Exception as error:
            raise self._told(error) from error.__cause__

    def finish(self) -> tuple[bool, int]:
        return False, 0

    def _enter(self, cursor: Cursor) -> None:
        cursor.execute(self._begin)
        cursor.execute(_UNTIL_THE_END)

    def _leave(self, cursor: Cursor) -> None:
        cursor.execute("ROLLBACK")
