"""Slow decoders that are right at a glance, and hand-made truth to decode."""

from __future__ import annotations

import numpy as np


def disk_labels(shape, disks):
    """Label image of ``(y, x, radius)``; where disks overlap the nearer middle wins."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    best = np.full(shape, 1.0)
    for k, (y, x, radius) in enumerate(disks):
        away = np.hypot(rows - y, columns - x) / radius
        closer = away < best
        best[closer] = away[closer]
        labels[closer] = k + 1
    return labels


def grid_of_disks(shape, pitch, radius, seed=0):
    """Jittered disks on a grid: some touch, those at the border are cut."""
    rng = np.random.default_rng(seed)
    disks = []
    for y in np.arange(pitch / 3, shape[0], pitch):
        for x in np.arange(pitch / 3, shape[1], pitch):
            dy, dx = rng.uniform(-0.1, 0.1, 2) * pitch
            disks.append((y + dy, x + dx, radius * rng.uniform(0.8, 1.1)))
    return disks


def disk_maps(truth, disks, count, grid):
    """Probability and rays of a StarDist model that knows the disks."""
    rows, columns = np.mgrid[: truth.shape[0] : grid, : truth.shape[1] : grid]
    own = truth[::grid, ::grid]
    y, x, radius = np.array([(0, 0, 1), *disks]).T[:, own]
    turn = 2 * np.pi * np.arange(count)[:, None, None] / count
    along = (y - rows) * np.sin(turn) + (x - columns) * np.cos(turn)
    away = (y - rows) ** 2 + (x - columns) ** 2
    rays = along + np.sqrt(np.maximum(along**2 - away + radius**2, 0))
    prob = np.where(own > 0, 1 - np.sqrt(away) / radius, 0)
    return prob.astype(np.float32), np.where(own > 0, rays, 0).astype(np.float32)


def polygon_pixels(corners, shape, fine=1):
    """Pixels whose centres lie in a polygon of ``(y, x)`` corners, by crossings."""
    rows = (np.arange(shape[0] * fine) + 0.5) / fine - 0.5
    columns = (np.arange(shape[1] * fine) + 0.5) / fine - 0.5
    y, x = np.meshgrid(rows, columns, indexing="ij")
    inside = np.zeros(y.shape, bool)
    for (y0, x0), (y1, x1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def star_corners(y, x, rays):
    angle = 2 * np.pi * np.arange(len(rays)) / len(rays)
    return np.column_stack([y + rays * np.sin(angle), x + rays * np.cos(angle)])


def greedy_stars(prob, rays, *, shape, grid, threshold, nms):
    """Centres of the winners of StarDist's suppression, on finely drawn polygons."""
    ij = np.argwhere(prob > threshold)
    order = np.argsort(-prob[tuple(ij.T)], kind="stable")
    margin, fine, drawn = 12, 2, []
    room = shape[0] + 2 * margin, shape[1] + 2 * margin
    for i, j in ij[order]:
        corners = star_corners(i * grid, j * grid, rays[:, i, j]) + margin
        drawn.append(polygon_pixels(corners, room, fine))
    winners = []
    for k, pixels in enumerate(drawn):
        shared = [
            (pixels & drawn[w]).sum() / min(pixels.sum(), drawn[w].sum())
            for w in winners
        ]
        if not any(share > nms for share in shared):
            winners.append(k)
    return [tuple(ij[order][k] * grid) for k in winners]


def flows_of_labels(labels, steps=None):
    """Cellpose's flows (times five) by diffusion from each middle, pixel by pixel."""
    flows = np.zeros((2, *labels.shape))
    for k in np.unique(labels)[1:]:
        mask = np.pad(labels == k, 1)
        y, x = np.nonzero(mask)
        middle = np.argmin((y - y.mean()) ** 2 + (x - x.mean()) ** 2)
        heat = np.zeros(mask.shape)
        for _ in range(steps or 2 * (np.ptp(y) + np.ptp(x) + 4)):
            heat[y[middle], x[middle]] += 1
            around = sum(
                np.roll(heat, (dy, dx), (0, 1))
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
            )
            heat = np.where(mask, around / 9, 0)
        dy, dx = heat[y + 1, x] - heat[y - 1, x], heat[y, x + 1] - heat[y, x - 1]
        length = np.maximum(np.hypot(dy, dx), 1e-60)
        flows[:, y - 1, x - 1] = dy / length, dx / length
    return (5 * flows).astype(np.float32)


def walk_flows(flows, cell, steps):
    """End of every walk, one pixel and one step after the other."""
    height, width = cell.shape
    field = np.where(cell, flows / 5, 0)
    ends = []
    for y, x in np.argwhere(cell).astype(float):
        for _ in range(steps):
            i, j = int(y), int(x)
            k, m = min(i + 1, height - 1), min(j + 1, width - 1)
            v, u = y - i, x - j
            step = (
                field[:, i, j] * (1 - v) * (1 - u)
                + field[:, i, m] * (1 - v) * u
                + field[:, k, j] * v * (1 - u)
                + field[:, k, m] * v * u
            )
            y = min(max(y + step[0], 0), height - 1)
            x = min(max(x + step[1], 0), width - 1)
        ends.append((y, x))
    return np.array(ends)


def same_objects(one, other, least_iou):
    """Whether two label images hold the same objects, each found once that well."""
    if one.max() != other.max():
        return False
    for k in range(1, one.max() + 1):
        mask = one == k
        inside = np.bincount(other[mask], minlength=other.max() + 1)[1:]
        best = int(np.argmax(inside)) + 1
        union = mask.sum() + (other == best).sum() - inside[best - 1]
        if inside[best - 1] < least_iou * union:
            return False
    return True


def gaussian_heat(shape, points, sigma=1.5):
    """One Gaussian of height 1 on each ``(y, x)``, the highest of them counts."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    heat = np.zeros(shape)
    for y, x in points:
        bell = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
        heat = np.maximum(heat, bell)
    return heat.astype(np.float32)
