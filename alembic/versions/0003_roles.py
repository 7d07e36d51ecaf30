"""Roles to grant: spatial_reader reads the layers, spatial_writer changes them and keeps the ledger."""

import logging
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | Sequence[str] | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

logger = logging.getLogger(__name__)

READER, WRITER = "spatial_reader", "spatial_writer"
LAYERS = "facilities, zones, districts, parcels"
LEDGER = "spatial_requests, spatial_imports"
TABLES = {READER: ("SELECT", LAYERS), WRITER: ("SELECT, INSERT, UPDATE, DELETE", f"{LAYERS}, {LEDGER}")}

# Roles belong to the cluster: another database may have made them, or be making them at this moment.
MAKE = """
DO $$
BEGIN
    IF to_regrole('{role}') IS NULL THEN
        CREATE ROLE {role} NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'role {role} is not there, and this role may not make it: nothing is granted to it';
END $$
"""

# For tables that this role makes later, too: a migration that adds a table need not think of the roles.
GRANT = """
DO $$
DECLARE
    here CONSTANT text := quote_ident(current_schema());
BEGIN
    IF to_regrole('{role}') IS NULL THEN
        RETURN;
    END IF;
    IF NOT has_schema_privilege('{role}', current_schema(), 'USAGE') THEN
        EXECUTE 'GRANT USAGE ON SCHEMA ' || here || ' TO {role}';
    END IF;
    GRANT SELECT ON alembic_version TO {role};
    GRANT {privileges} ON {tables} TO {role};
    EXECUTE 'ALTER DEFAULT PRIVILEGES IN SCHEMA ' || here || ' GRANT {privileges} ON TABLES TO {role}';
END $$
"""

GRANT_SEQUENCES = """
DO $$
BEGIN
    IF to_regrole('{role}') IS NOT NULL THEN
        EXECUTE 'ALTER DEFAULT PRIVILEGES IN SCHEMA ' || quote_ident(current_schema())
            || ' GRANT USAGE ON SEQUENCES TO {role}';
    END IF;
END $$
"""

REVOKE = """
DO $$
DECLARE
    here CONSTANT text := quote_ident(current_schema());
BEGIN
    IF to_regrole('{role}') IS NULL THEN
        RETURN;
    END IF;
    EXECUTE 'ALTER DEFAULT PRIVILEGES IN SCHEMA ' || here || ' REVOKE ALL ON SEQUENCES FROM {role}';
    EXECUTE 'ALTER DEFAULT PRIVILEGES IN SCHEMA ' || here || ' REVOKE ALL ON TABLES FROM {role}';
    REVOKE ALL ON {tables}, alembic_version FROM {role};
    IF EXISTS (SELECT FROM pg_namespace, aclexplode(nspacl)
                WHERE nspname = current_schema() AND grantee = to_regrole('{role}')) THEN
        EXECUTE 'REVOKE USAGE ON SCHEMA ' || here || ' FROM {role}';
    END IF;
END $$
"""

# Not where other databases have granted it something, nor where somebody is a member: that would end unseen.
DROP = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_auth_members
                    WHERE roleid = to_regrole('{role}') AND pg_get_userbyid(member) <> current_user) THEN
        DROP ROLE IF EXISTS {role};
    END IF;
EXCEPTION
    WHEN dependent_objects_still_exist OR insufficient_privilege OR undefined_object THEN
        NULL;
END $$
"""


def upgrade() -> None:
    """Nothing fails for want of CREATEROLE: the roles may be made by somebody else, and this be run again."""
    for role, (privileges, tables) in TABLES.items():
        op.execute(MAKE.format(role=role))
        op.execute(GRANT.format(role=role, privileges=privileges, tables=tables))
    # The keys of today's tables are identity columns, which need no privilege; a serial column would.
    op.execute(GRANT_SEQUENCES.format(role=WRITER))
    if not op.get_context().as_sql:
        say_what_is_missing()


def say_what_is_missing() -> None:
    for role in TABLES:
        if op.get_bind().scalar(sa.select(sa.func.to_regrole(role))) is None:
            message = "role %s is not there, and this one may not make it: make it, and run `spatial migrate --roles`"
            logger.warning(message, role)


def downgrade() -> None:
    for role, (_, tables) in reversed(TABLES.items()):
        op.execute(REVOKE.format(role=role, tables=tables))
        op.execute(DROP.format(role=role))
