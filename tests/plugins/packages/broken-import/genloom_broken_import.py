"""A plugin that does not import."""

import surely_not_installed

surely_not_installed.anything()
