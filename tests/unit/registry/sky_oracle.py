"""Whether regions of the sky overlap, decided without rounding: slow, and written apart from what it judges.

Polygons are judged by the signs of triple products of their vertices as they stand in float64, in fractions;
circles by angles of 50 digits; boxes by halving until every part is seen to be in or out, or as None.
"""

import heapq
import math
from fractions import Fraction

import mpmath

NEAR = 1e-12

mp = mpmath.mp.clone()
mp.dps = 50


def _det(a, b, c):
    return (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - a[1] * (b[0] * c[2] - b[2] * c[0])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )


def _fractions(vertices):
    """Return the vertices, counterclockwise."""
    exact = [tuple(map(Fraction, map(float, vertex))) for vertex in vertices]
    middle = [sum(axis) for axis in zip(*exact, strict=True)]
    turn = sum(_det(exact[n - 1], exact[n], middle) > 0 for n in range(len(exact)))
    return exact if turn > len(exact) / 2 else exact[::-1]


def _edges(vertices):
    return [(vertices[n - 1], vertices[n]) for n in range(len(vertices))]


def polygons_overlap(a, b):
    """Tell whether two convex polygons have a point in common, exactly."""
    a, b = _fractions(a), _fractions(b)
    for inner, outer in ((a, b), (b, a)):
        for point in inner:
            if all(_det(start, end, point) >= 0 for start, end in _edges(outer)):
                return True
    return any(_arcs_meet(*one, *other) for one in _edges(a) for other in _edges(b))


def _arcs_meet(a, b, c, d):
    over_c, over_d = _det(a, b, c), _det(a, b, d)
    over_a, over_b = _det(c, d, a), _det(c, d, b)
    # One of the two points where the great circles meet lies in both arcs. Arcs of one great circle are left
    # to the tests of their ends: they meet if an end of one lies in the other polygon.
    if over_c == over_d == 0 or over_a == over_b == 0:
        return False
    return (over_c >= 0 >= over_d and over_b >= 0 >= over_a) or (
        over_c <= 0 <= over_d and over_b <= 0 <= over_a
    )


# ------------------------------------------------------------------------- angles of 50 digits


def _mp(vector):
    vector = [mp.mpf(float(x)) for x in vector]
    length = mp.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def _dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def _cross(a, b):
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def angle(a, b):
    a, b = _mp(a), _mp(b)
    return mp.atan2(mp.sqrt(_dot(_cross(a, b), _cross(a, b))), _dot(a, b))


def from_arc(point, a, b):
    """Return the distance of a point from an arc of a great circle."""
    p, a, b = _mp(point), _mp(a), _mp(b)
    normal = _cross(a, b)
    nearest = [x - n * _dot(p, normal) / _dot(normal, normal) for x, n in zip(p, normal, strict=True)]
    ends = min(angle_mp(p, a), angle_mp(p, b))
    if _dot(_cross(a, nearest), normal) >= 0 and _dot(_cross(nearest, b), normal) >= 0 and any(nearest):
        return min(ends, angle_mp(p, nearest))
    return ends


def angle_mp(a, b):
    return mp.atan2(mp.sqrt(_dot(_cross(a, b), _cross(a, b))), _dot(a, b))


def from_polygon(point, vertices):
    """Return the distance of a point from a convex polygon, 0 within."""
    exact = tuple(map(Fraction, map(float, point)))
    polygon = _fractions(vertices)
    if all(_det(start, end, exact) >= 0 for start, end in _edges(polygon)):
        return mp.mpf(0)
    return min(from_arc(point, start, end) for start, end in _edges(list(vertices)))


def between_polygons(a, b):
    """Return the distance of two convex polygons, 0 if they overlap."""
    if polygons_overlap(a, b):
        return mp.mpf(0)
    return min(
        from_arc(point, *edge)
        for one, other in ((a, b), (b, a))
        for point in one
        for edge in _edges(list(other))
    )


def depth(a, b):
    """Return how far two polygons that overlap are from not doing so: 0 if their borders only touch.

    A bound from below, of the right order: the largest of the distances of vertices of each from the edges of
    the other, and of crossed edges from the ends of each other.
    """
    deepest = mp.mpf(0)
    for one, other in ((a, b), (b, a)):
        polygon = _fractions(other)
        for point in one:
            exact = tuple(map(Fraction, map(float, point)))
            if all(_det(start, end, exact) >= 0 for start, end in _edges(polygon)):
                deepest = max(deepest, min(from_arc(point, *edge) for edge in _edges(list(other))))
    for start, end in _edges(_fractions(a)):
        for first, last in _edges(_fractions(b)):
            if _arcs_meet(start, end, first, last):
                gaps = [from_arc(p, first, last) for p in (start, end)] + [
                    from_arc(p, start, end) for p in (first, last)
                ]
                deepest = max(deepest, min(gaps))
    return deepest


# ------------------------------------------------------------------------- boxes


def box_meets(box, distance, *, steps=2000):
    """Tell whether something meets a box (west, width, south, north: radians) by halving; None if unclear.

    ``distance(ra, dec)`` is that of a point from the thing, 0 within. The part that may be nearest is halved
    first.
    """

    def bound(part):
        west, width, south, north = part
        far = distance(west + width / 2, (south + north) / 2)
        # No point of the part is farther from its middle.
        return far - (width + north - south) / 2, far, part

    parts = [bound(box)]
    for _ in range(steps):
        least, far, (west, width, south, north) = heapq.heappop(parts)
        if least > 1e-13:
            return False
        if far <= 0:
            return True
        if width + north - south < NEAR:
            return None
        across = width * (math.cos(min(abs(south), abs(north))) if south * north > 0 else 1)
        if across > north - south:
            halves = (west, width / 2, south, north), (west + width / 2, width / 2, south, north)
        else:
            middle = (south + north) / 2
            halves = (west, width, south, middle), (west, width, middle, north)
        for half in halves:
            heapq.heappush(parts, bound(half))
    return None


def boxes_meet(a, b):
    """Tell whether two boxes (west, east, south, north: degrees) have a point in common."""
    (west_a, east_a, south_a, north_a), (west_b, east_b, south_b, north_b) = (
        map(Fraction, box) for box in (a, b)
    )
    low, high = max(south_a, south_b), min(north_a, north_b)
    if low > high:
        return False
    if high == 90 or low == -90:
        return True
    east_a = west_a + (min(east_a - west_a, 360) if east_a >= west_a else (east_a - west_a) % 360)
    east_b = west_b + (min(east_b - west_b, 360) if east_b >= west_b else (east_b - west_b) % 360)
    return any(west_a <= east_b + turn and west_b + turn <= east_a for turn in range(-1080, 1081, 360))
