#!/usr/bin/env python3
"""Diagnoses photos with Python's standard library alone: diagnose.py [--url URL] PHOTO…"""
import argparse
import json
import sys
import urllib.error
import urllib.request


def diagnose(url, path):
    """The diagnosis object, or the error object that the server gave."""
    with open(path, "rb") as file:
        request = urllib.request.Request(f"{url}/api/v1/predict?top_k=3", data=file.read(),
                                         headers={"Content-Type": "application/octet-stream"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8501")
    parser.add_argument("photos", nargs="+")
    arguments = parser.parse_args()
    failed = 0
    for path in arguments.photos:
        try:
            answer = diagnose(arguments.url, path)
        except urllib.error.URLError as error:
            print(f"{path}: no answer from {arguments.url}: {error.reason}", file=sys.stderr)
            failed = 1
            continue
        except OSError as error:
            print(f"{path}: {error.strerror or error}", file=sys.stderr)
            failed = 1
            continue
        if "error" in answer:
            print(f"{path}: {answer['error']['code']}: {answer['error']['message']}", file=sys.stderr)
            failed = 1
            continue
        best = answer["predictions"][0]
        print(f"{path}: {best['label']} {100 * best['probability']:.1f} % ({answer['verdict']}), "
              f"{answer['timings_ms']['total']:.1f} ms, cache {answer['cache']['prediction']}")
    return failed


sys.exit(main())
