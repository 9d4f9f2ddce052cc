# SPDX-License-Identifier: GPL-3.0-or-later
"""The test bed: emulated AMD GPU hosts, as plain folders for unit tests and as running systemd hosts for the
rest."""
