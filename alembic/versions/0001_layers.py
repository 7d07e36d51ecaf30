"""The layers: facilities, zones, districts and parcels."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql

from service.geography import geography

revision: str = "0001"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = ("facilities", "zones", "districts", "parcels")


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS postgis")
    op.execute(
        "CREATE FUNCTION spatial_touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$"
    )
    create_facilities()
    create_zones()
    create_districts()
    create_parcels()
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER {table}_touch_updated_at BEFORE UPDATE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION spatial_touch_updated_at()"
        )


def downgrade() -> None:
    """The extension stays: other tables of the database may have come to use it."""
    for table in reversed(TABLES):
        op.drop_table(table)
    op.execute("DROP FUNCTION spatial_touch_updated_at()")


def create_facilities() -> None:
    create_table(
        "facilities",
        required_text("name"),
        required_text("kind"),
        sa.Column("country", sa.Text(), comment="ISO 3166-1 alpha-2"),
        sa.Column("population", sa.BigInteger()),
        geometry_column("location", "POINT"),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        on_earth("facilities", "location"),
    )
    create_spatial_indexes("facilities", "location")
    op.create_index(
        "ix_facilities_location_geography_active_gist",
        "facilities",
        [geography(sa.column("location"))],
        postgresql_using="gist",
        postgresql_where=sa.text("active"),
    )
    op.create_index("ix_facilities_tags_gin", "facilities", ["tags"], postgresql_using="gin")


def create_zones() -> None:
    centroid = sa.Computed("ST_Centroid(boundary)", persisted=True)
    create_table(
        "zones",
        sa.Column("code", sa.Text(), nullable=False, comment="ISO 3166-1 alpha-3 where there is one"),
        required_text("name"),
        required_text("category"),
        geometry_column("boundary", "MULTIPOLYGON"),
        sa.Column("centroid", geometry("POINT"), centroid, nullable=False),
        sa.UniqueConstraint("code", name="uq_zones_code"),
        *boundary_checks("zones"),
    )
    create_spatial_indexes("zones", "boundary")
    create_spatial_indexes("zones", "centroid")


def create_districts() -> None:
    create_table(
        "districts",
        required_text("name"),
        geometry_column("boundary", "MULTIPOLYGON"),
        sa.UniqueConstraint("name", name="uq_districts_name"),
        *boundary_checks("districts"),
    )
    create_spatial_indexes("districts", "boundary")


def create_parcels() -> None:
    create_table(
        "parcels",
        required_text("number"),
        required_text("name"),
        required_text("land_use"),
        sa.Column("district_id", sa.BigInteger(), nullable=False),
        geometry_column("boundary", "POLYGON"),
        sa.UniqueConstraint("number", name="uq_parcels_number"),
        sa.ForeignKeyConstraint(
            ["district_id"], ["districts.id"], name="fk_parcels_district_id_districts", ondelete="RESTRICT"
        ),
        *boundary_checks("parcels"),
    )
    create_spatial_indexes("parcels", "boundary")
    op.create_index("ix_parcels_district_id", "parcels", ["district_id"])


def create_table(name: str, *parts: sa.schema.SchemaItem) -> None:
    now = sa.text("now()")
    op.create_table(
        name,
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        *parts,
        sa.Column("attributes", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
    )
    op.create_index(
        f"ix_{name}_attributes_gin",
        name,
        ["attributes"],
        postgresql_using="gin",
        postgresql_ops={"attributes": "jsonb_path_ops"},
    )


def create_spatial_indexes(table: str, column: str) -> None:
    op.create_index(f"ix_{table}_{column}_gist", table, [column], postgresql_using="gist")
    expression = geography(sa.column(column))
    op.create_index(f"ix_{table}_{column}_geography_gist", table, [expression], postgresql_using="gist")


def geometry(kind: str) -> Geometry:
    return Geometry(kind, srid=4326, spatial_index=False)


def geometry_column(name: str, kind: str) -> sa.Column[str]:
    return sa.Column(name, geometry(kind), nullable=False)


def required_text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def boundary_checks(table: str) -> tuple[sa.CheckConstraint, sa.CheckConstraint]:
    valid = sa.CheckConstraint("ST_IsValid(boundary)", name=op.f(f"ck_{table}_boundary_valid"))
    return valid, on_earth(table, "boundary")


def on_earth(table: str, column: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(
        f"NOT ST_IsEmpty({column}) AND ST_XMin({column}) >= -180 AND ST_XMax({column}) <= 180"
        f" AND ST_YMin({column}) >= -90 AND ST_YMax({column}) <= 90",
        name=op.f(f"ck_{table}_{column}_on_earth"),
    )
