#!/usr/bin/env bash
# The file and --override mean the same to Ottla.
exec ottla "$@"
