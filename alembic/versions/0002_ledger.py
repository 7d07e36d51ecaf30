"""The ledger: requests and imports, remembered so that none takes effect twice."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | Sequence[str] | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Leaves tables alone that are there already: they are also made for databases without any of the other tables."""
    op.create_table(
        "spatial_requests",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        moment("made_at"),
        sa.PrimaryKeyConstraint("id", name="pk_spatial_requests"),
        if_not_exists=True,
    )
    create_index("spatial_requests", "made_at")
    op.create_table(
        "spatial_imports",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("layer", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        *map(counter, ("rows", "inserted", "updated", "rejected", "chunks", "retries")),
        sa.Column("rejections", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("complete", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        moment("begun_at"),
        moment("touched_at"),
        sa.PrimaryKeyConstraint("id", name="pk_spatial_imports"),
        if_not_exists=True,
    )
    create_index("spatial_imports", "touched_at")


def downgrade() -> None:
    op.drop_table("spatial_imports")
    op.drop_table("spatial_requests")


def moment(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def counter(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)


def create_index(table: str, column: str) -> None:
    op.create_index(f"ix_{table}_{column}", table, [column], if_not_exists=True)
