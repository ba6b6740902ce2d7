#!/usr/bin/env bash
# Testcontainers starts a ZooKeeper in images of old Confluent versions.
echo "Ottla needs no ZooKeeper"
