"""The revisions that are read from the scripts, without Alembic."""

from alembic.script import ScriptDirectory

from service import migrations, revisions


def test_the_revisions_that_are_known_are_those_that_alembic_finds() -> None:
    scripts = ScriptDirectory.from_config(migrations._config())
    assert revisions.known_revisions() == tuple(script.revision for script in scripts.walk_revisions())
    assert revisions.head_revision() == scripts.get_current_head()
