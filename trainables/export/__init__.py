"""Trained models in a form that plain transformers and PEFT load: conversion, folder, card, loader."""
