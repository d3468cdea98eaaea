"""The light faces, one part a file; `-p no:pytest_testbed.plugins.NAME` switches a part off."""
